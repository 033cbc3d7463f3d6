"""The training loop. Its order is law: evaluate the old state, save, next batch, step, log the step before.

So a checkpoint of step n holds a state whose metrics were seen to be finite, and the host reads the
results of step n - 1 only after step n is under way: the devices never wait for Python.
"""

import dataclasses
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator

import jax

from fnet_jax.core import cli, hosts
from fnet_jax.core import config as config_lib
from fnet_jax.core.batch import Batch
from fnet_jax.core.config import Config
from fnet_jax.core.workdir import save_config, saved_config
from fnet_jax.data.dataset import TOKENIZER_FILE
from fnet_jax.nn.encoder import describe_layers, layer_mixers
from fnet_jax.nn.heads import param_count
from fnet_jax.train import example_ids, perf
from fnet_jax.train.checkpoint import Checkpointer, early_stop_step, resolve
from fnet_jax.train.evaluate import evaluate_split
from fnet_jax.train.metrics import HostSums, Sums, compute, merge, to_host
from fnet_jax.train.run import Run, check_workdir, set_up
from fnet_jax.train.scores import better
from fnet_jax.train.state import TrainState, create_state
from fnet_jax.train.stopping import agreed, stop_signals
from fnet_jax.train.warm_start import with_pretrained_encoder
from fnet_jax.train.writers import (
    METRICS_FILE,
    ConsoleWriter,
    JsonlWriter,
    TensorBoardWriter,
    WandbWriter,
    Writer,
    Writers,
    import_wandb,
)


class DivergedError(ArithmeticError):
    """The loss or the gradient is no finite number."""


def train(config: Config, workdir: str) -> int:
    """Trains to `num_train_steps`, from the newest checkpoint of `workdir` if there is one.

    Returns:
        The exit code: 0 done; 3 the loss stopped being finite; 130 or 143 stopped by a signal, saved.

    Raises:
        UserError: for whatever the user can mend.
    """
    if config.log.wandb_project:
        import_wandb()
    check_workdir(workdir)
    run = set_up(config, workdir)
    checkpointer = Checkpointer(workdir, config.train.max_to_keep)
    try:
        with jax.set_mesh(run.mesh):
            code = _train(run, workdir, checkpointer)
    except BaseException:
        if hosts.count() == 1:  # with several, a save under way may wait for one that is gone
            checkpointer.close()
        raise
    checkpointer.close()
    return code


def _train(run: Run, workdir: str, checkpointer: Checkpointer) -> int:
    num_train_steps = run.config.train.num_train_steps
    state, start_step = _start(run, workdir, checkpointer)
    stopped_early = early_stop_step(run.config, checkpointer) is not None
    if start_step >= num_train_steps or stopped_early:
        why = ", where the score had stopped rising" if stopped_early else ""
        hosts.say(f"complete: {workdir} already holds step {start_step} of {num_train_steps}{why}")
        return 0
    for remark in run.dataset.remarks:
        hosts.say(f"note: {remark}")
    _save_config(run, workdir)
    with stop_signals() as stopped_by:
        stopped_by = agreed(stopped_by, run.mesh)
        return _Loop(run, workdir, checkpointer, state, start_step, stopped_by).run()


def _start(run: Run, workdir: str, checkpointer: Checkpointer) -> tuple[TrainState, int]:
    """The state to go on from.

    1. The workdir has a checkpoint: resume it, whatever `init_from` says.
    2. `init_from` is set: fresh optimizer and step 0, params from there; a labelled task takes the
       encoder alone.
    3. Otherwise: random parameters.
    """
    latest = hosts.agree(checkpointer.latest())
    if latest is not None:
        hosts.say(f"resume: {checkpointer.directory}/{latest}")
        return checkpointer.restore(latest, run.abstract), latest
    if not run.config.init_from:
        return create_state(run.abstract, run.objective, run.optimizer, run.config.seed), 0
    if run.config.task != "pretrain":
        state = create_state(run.abstract, run.objective, run.optimizer, run.config.seed)
        state, said = with_pretrained_encoder(run.config, state)
        hosts.say(said)
        return state, 0
    source, step = resolve(run.config.init_from)
    hosts.say(f"warm start: parameters of step {step} of {source}, fresh optimizer")
    reader = Checkpointer(source, read_only=True)
    variables = reader.restore_variables(step, run.abstract.variables)
    reader.close()
    state = create_state(run.abstract, run.objective, run.optimizer, run.config.seed)
    return dataclasses.replace(state, **variables), 0


def _save_config(run: Run, workdir: str) -> None:
    """Leaves the resolved config and the tokenizer in the workdir; says what changed since the last start."""
    if not hosts.is_first():
        return
    config = run.config
    tokenizer = os.path.join(workdir, TOKENIZER_FILE)
    if os.path.abspath(run.dataset.tokenizer_path) != tokenizer:
        shutil.copyfile(run.dataset.tokenizer_path, tokenizer)
    saved = saved_config(workdir)
    for line in config_lib.differences(saved, config) if saved else []:
        print(f"config changed since the last start: {line}")
    save_config(config, workdir)


class _Loop:
    """One run of the loop; `run` is the whole story, the other methods are its verbs."""

    def __init__(
        self,
        run: Run,
        workdir: str,
        checkpointer: Checkpointer,
        state: TrainState,
        start_step: int,
        stopped_by: Callable[[], int],
    ):
        config = run.config
        self._run, self._workdir, self._checkpointer = run, workdir, checkpointer
        self._state, self._start_step, self._stopped_by = state, start_step, stopped_by
        self._config, self._num_steps = config, config.train.num_train_steps
        self._eval_step = run.eval_step()
        self._pending: tuple[int, Sums] | None = None  # step just dispatched, its sums on the devices
        self._window: HostSums = {}  # sums since the last log line
        self._window_steps = 0
        self._profiling = False
        self._last: HostSums = {}  # sums of the newest step that was read
        self._saved = start_step if checkpointer.latest() is not None else -1
        self._stopwatch = perf.Stopwatch()
        self._score: tuple[int, float] | None = None  # step evaluated last, its score
        self._best = checkpointer.best()
        self._flaws: set[str] = set()
        flops = perf.train_flops_per_example(
            config.model, layer_mixers(config.model), run.objective.predictions
        )
        self._flops_per_step = flops * config.train.train_batch_size
        peak = perf.peak_flops(jax.devices()[0], config.model.dtype)
        self._peak_flops = peak * jax.device_count() if peak else None
        self._console = ConsoleWriter(start_step, self._num_steps) if hosts.is_first() else None
        self._writers = Writers(self._make_writers())

    def _make_writers(self) -> list[Writer]:
        if self._console is None:
            return []
        writers: list[Writer] = [
            self._console,
            JsonlWriter(self._workdir, self._start_step),
            TensorBoardWriter(self._workdir, self._start_step),
        ]
        if self._config.log.wandb_project:
            values = config_lib.to_dict(self._config)
            writers.append(WandbWriter(self._workdir, self._config.log.wandb_project, values))
        return writers

    def run(self) -> int:
        """Trains until done or stopped; returns the exit code."""
        train = self._config.train
        try:
            compiled = self._compile()
            batches, _, _ = self._run.device_batches("train", self._start_step)
            if self._config.log.example_ids:
                batches = example_ids.record(batches, self._workdir, self._start_step)
            self._stopwatch.read()
            with jax.transfer_guard("disallow"):
                for step in range(self._start_step, self._num_steps + 1):
                    last = step == self._num_steps
                    stopped = self._stopped_by()
                    fresh = step > self._start_step
                    evaluate = (last or _due(step, train.eval_frequency)) and fresh and not stopped
                    if evaluate:
                        self._evaluate(step)
                    last = last or self._is_stale(step)
                    best = train.keep_best and evaluate
                    if last or stopped or best or _due(step, train.save_checkpoints_steps):
                        self._save(step)
                    if last or stopped:
                        break
                    self._profile(step)
                    batch = self._next(batches)
                    if batch is None:
                        stopped = self._stopped_by()
                        self._save(step)
                        break
                    self._state, sums = compiled(self._state, batch)
                    self._read_pending()
                    self._pending = (step + 1, sums)
            self._checkpointer.wait()
            self._say_end(step, stopped)
            return 128 + stopped if stopped else 0
        except DivergedError as error:
            self._checkpointer.wait()
            kept = self._checkpointer.latest()
            good = (
                f"the last good checkpoint is step {kept}"
                if kept is not None
                else "no checkpoint was due yet"
            )
            self._say(
                f"error: {error}; {good}; try a lower optim.learning_rate or optim.clipped_grad_norm=1.0"
            )
            return cli.EXIT_DIVERGED
        finally:
            self._stop_profile()
            self._writers.close()

    def _compile(self):
        """Compiles the step before the first batch is needed, and says how large things are."""
        model, parameters = self._config.model, param_count(self._state.params)
        self._say(
            f"{parameters:,} parameters, {describe_layers(model, jax.devices()[0].platform)}, "
            f"{jax.device_count()} {jax.devices()[0].device_kind} device(s), "
            f"batch {self._config.train.train_batch_size} x {model.max_seq_length} tokens; "
            "compiling the step ..."
        )
        begin = time.perf_counter()
        structs = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), self._state
        )
        compiled = self._run.train_step().lower(structs, self._run.batch_structs()).compile()
        self._say(f"compiled in {time.perf_counter() - begin:.0f} s; training from step {self._start_step}")
        return compiled

    def _next(self, batches: Iterator[Batch]) -> Batch | None:
        """The next batch; None where Ctrl-C, which reaches the input processes too, has ended them."""
        try:
            with self._stopwatch.part("data"):
                return next(batches)
        except Exception:
            if jax.process_count() == 1 and self._stopped_by():
                return None
            raise

    def _evaluate(self, step: int) -> None:
        self._read_pending()
        with self._stopwatch.part("pause"):
            split = self._run.dataset.eval_splits[0]
            found = evaluate_split(self._run, self._eval_step, self._state.variables, split)
            self._writers.write(step, "eval", found.values)
            for flaw in found.flaws:
                if flaw not in self._flaws:
                    self._say(f"note: {flaw}")
            self._flaws.update(found.flaws)
            if self._config.train.keep_best:
                self._score = (step, found.values["score"])
                if self._best is None or better(self._score[1], self._best[1]):
                    self._best = self._score

    def _is_stale(self, step: int) -> bool:
        """Whether the score has not risen for `early_stop_evals` evaluations; see `early_stop_step`."""
        train = self._config.train
        patience = train.early_stop_evals * train.eval_frequency
        return patience > 0 and self._best is not None and step - self._best[0] >= patience

    def _save(self, step: int) -> None:
        if step == self._saved:
            return
        self._read_pending()  # never save a state whose step was not seen to be finite
        with self._stopwatch.part("pause"):
            score = self._score[1] if self._score and self._score[0] == step else None
            self._checkpointer.save(step, self._state, score)
        self._saved = step

    def _read_pending(self) -> None:
        """Reads the sums of the step before, refuses what is not finite, logs when it is time."""
        if self._pending is None:
            return
        step, sums = self._pending
        self._pending = None
        self._last = to_host(sums)
        for name in ("loss", "grad_norm"):
            if not math.isfinite(self._last[name][0]):
                raise DivergedError(f"{name} is {self._last[name][0]} at step {step}")
        self._window = merge(self._window, self._last)
        self._window_steps += 1
        if self._console:
            self._console.advance()
        if _due(step, self._config.train.log_frequency) or step == self._num_steps:
            self._log(step)

    def _log(self, step: int) -> None:
        """Writes means over the window since the last line, and its speed without pauses."""
        total, parts = self._stopwatch.read()
        busy = max(total - parts.get("pause", 0.0), 1e-9)
        examples = self._window_steps * self._config.train.train_batch_size
        rate = examples / busy
        values = compute(self._window)
        values["learning_rate"] = self._last["learning_rate"][0]
        values["examples_per_second"] = rate
        values["tokens_per_second"] = rate * self._config.model.max_seq_length
        values["data_wait_share"] = parts.get("data", 0.0) / busy
        if self._peak_flops:
            values["mfu"] = self._flops_per_step * self._window_steps / busy / self._peak_flops
        values["eta_minutes"] = (self._num_steps - step) * busy / self._window_steps / 60
        self._writers.write(step, "train", values)
        self._window, self._window_steps = {}, 0

    def _profile(self, step: int) -> None:
        """Opens the profiler window of the config when it is due, and closes it."""
        log = self._config.log
        if not log.profile_start:
            return
        if step == log.profile_start:
            jax.profiler.start_trace(os.path.join(self._workdir, "profile"))
            self._profiling = True
        elif step == log.profile_start + log.profile_steps:
            self._stop_profile()

    def _stop_profile(self) -> None:
        """Closes the window if it is open; also at the end of a run that ends inside it."""
        if self._profiling:
            jax.block_until_ready(self._state)
            jax.profiler.stop_trace()
            self._profiling = False
            self._say(f"profile: {self._workdir}/profile; look at it with TensorBoard or Perfetto")

    def _say_end(self, step: int, stopped: int) -> None:
        where = f"checkpoint {self._checkpointer.directory}/{step}, metrics {self._workdir}/{METRICS_FILE}"
        if stopped:
            self._say(
                f"stopped at step {step} of {self._num_steps}, saved; "
                f"the same command goes on from here; {where}"
            )
        else:
            early = f" of {self._num_steps}, the score has stopped rising" if step < self._num_steps else ""
            best = f"; best score {self._best[1]:.4f} at step {self._best[0]}" if self._best else ""
            self._say(f"done: step {step}{early}{best}; {where}")

    def _say(self, text: str) -> None:
        if self._console:
            self._console.say(text)


def _due(step: int, frequency: int) -> bool:
    """Whether something done every `frequency` steps is due; never at step 0, never for frequency 0."""
    return step > 0 and frequency > 0 and step % frequency == 0
