"""The training loop. Its order is law: evaluate the old state, save, next batch, step, log the step before.

So a checkpoint of step n holds a state whose metrics were seen to be finite, and the host reads the
results of step n - 1 only after step n is under way: the devices never wait for Python.
docs/faults.md says what happens when something interrupts it.
"""

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator

import jax

from fnet_jax.core.batch import Batch
from fnet_jax.core.config import Config
from fnet_jax.core.errors import MachineError
from fnet_jax.core.mesh import describe_mesh
from fnet_jax.nn.encoder import describe_layers
from fnet_jax.nn.heads import param_count
from fnet_jax.runtime import cli, hosts, lock, signals
from fnet_jax.train import compile_cache, example_ids, perf
from fnet_jax.train.batches import train_batches
from fnet_jax.train.best import BestTracker
from fnet_jax.train.checkpoint import Checkpointer, SaveError, reason
from fnet_jax.train.memory import describe_layout, memory_of
from fnet_jax.train.profile_window import ProfileWindow
from fnet_jax.train.progress import DivergedError, Progress
from fnet_jax.train.setup import Setup, set_up
from fnet_jax.train.start import check_workdir, start
from fnet_jax.train.state import TrainState
from fnet_jax.train.step import EvalStep, TrainStep
from fnet_jax.train.stopping import stop_together
from fnet_jax.train.writers import METRICS_FILE, import_wandb


def train(config: Config, workdir: str, started: float | None = None) -> int:
    """Trains to `num_train_steps`, from the newest whole checkpoint of `workdir` if there is one.

    Args:
        config: of the run.
        workdir: of the run; no other trainer may be at work there.
        started: when the process began, as `time.perf_counter()` gave it; now by default.

    Returns:
        The exit code: 0 done; 3 the loss stopped being finite; 130 or 143 stopped by a signal, saved.

    Raises:
        UserError: for whatever the user can mend.
        MachineError: if a save, the input or the metrics failed.
    """
    if config.log.wandb_project:
        import_wandb()
    check_workdir(workdir)
    compile_cache.enable()
    held = lock.lock_workdir(workdir)
    try:
        # Waiting for data is part of a step; it would be written down twice a step.
        stopwatch = perf.Stopwatch(started, lambda name: held.note(name) if held and name != "data" else None)
        with stopwatch.part("prepare"):
            setup = set_up(config, workdir)
        checkpointer = Checkpointer(workdir, config.train.max_to_keep)
        try:
            with jax.set_mesh(setup.mesh):
                code = _train(setup, workdir, checkpointer, stopwatch)
        except BaseException:
            if hosts.count() == 1:  # with several, a save under way may wait for one that is gone
                checkpointer.close()
            raise
        checkpointer.close()
        return code
    finally:
        if held:
            held.release()


def _train(setup: Setup, workdir: str, checkpointer: Checkpointer, stopwatch: perf.Stopwatch) -> int:
    started = start(setup, workdir, checkpointer)
    if started is None:
        return 0
    state, start_step = started
    with signals.deferred(signals.SAVING) as stop:
        stopped_by = stop_together(lambda: stop.number, setup.mesh)
        return _Loop(setup, workdir, checkpointer, state, start_step, stopped_by, stopwatch).run()


class _Loop:
    """One run of the loop; `run` and `_steps` are the whole story, the other methods are its verbs."""

    def __init__(
        self,
        setup: Setup,
        workdir: str,
        checkpointer: Checkpointer,
        state: TrainState,
        start_step: int,
        stopped_by: Callable[[], int],
        stopwatch: perf.Stopwatch,
    ):
        self._setup, self._workdir, self._checkpointer = setup, workdir, checkpointer
        self._state, self._step, self._start_step = state, start_step, start_step
        self._stopped_by, self._stopwatch = stopped_by, stopwatch
        self._config, self._num_steps = setup.config, setup.config.train.num_train_steps
        self._saved = -1 if hosts.broadcast(checkpointer.latest()) is None else start_step
        self._progress = Progress(setup, workdir, start_step, stopwatch)
        self._profile = ProfileWindow(setup.config.log, workdir, self._progress.say)
        self._best = BestTracker(setup, self._progress, stopwatch, hosts.broadcast(checkpointer.best()))

    def run(self) -> int:
        """Trains until done or stopped; returns the exit code."""
        try:
            compiled = self._compile()
            batches = train_batches(self._setup, self._start_step)
            if self._config.log.example_ids:
                batches = example_ids.record(batches, self._workdir, self._start_step)
            with jax.transfer_guard("disallow"):
                stopped = self._steps(compiled, batches)
            with self._stopwatch.part("save"):
                self._checkpointer.wait()
            self._say_end(stopped)
            return 128 + stopped if stopped else 0
        except DivergedError as error:
            self._checkpointer.wait()
            kept = self._checkpointer.latest()
            good = (
                f"the last good checkpoint is step {kept}"
                if kept is not None
                else "no checkpoint was due yet"
            )
            self._progress.say(
                f"error: {error}; {good}; try a lower optim.learning_rate or optim.clipped_grad_norm=1.0"
            )
            return cli.EXIT_DIVERGED
        except SaveError:
            raise
        except MachineError as error:
            raise MachineError(f"{error}; {self._rescue()}") from error
        except Exception:
            print(f"error at step {self._step}: {self._rescue()}", file=sys.stderr)
            raise
        finally:
            self._profile.close(self._state)
            self._progress.close()

    def _steps(self, compiled: TrainStep, batches: Iterator[Batch]) -> int:
        """The loop; returns the number of the signal that stopped it, or 0."""
        train = self._config.train
        while True:
            step = self._step
            last = step == self._num_steps
            stopped = self._stopped_by()
            evaluate = (last or _due(step, train.eval_frequency)) and self._is_fresh(step) and not stopped
            if evaluate and not self._evaluate(step):
                stopped = self._stopped_by()
            last = last or self._best.is_stale(step)
            best = train.keep_best and evaluate
            if last or stopped or best or _due(step, train.save_checkpoints_steps):
                self._save(step)
            if last or stopped:
                return stopped
            self._profile.at(step, self._state)
            repeated = step < self._progress.repeated_until
            with self._stopwatch.part("repeat" if repeated else "steps"):
                batch = self._next(batches)
                if batch is None:
                    self._save(step)
                    return self._stopped_by()
                self._state, sums = compiled(self._state, batch)
                self._step = step + 1
                self._progress.dispatched(step + 1, sums)

    def _is_fresh(self, step: int) -> bool:
        """Whether the state has yet to be evaluated; at a start, a signal may have cut that short before."""
        if step == self._start_step:
            return step > 0 and step not in self._progress.evaluated
        return True

    def _compile(self):
        """Compiles the step before the first batch is needed, and says how large things are."""
        model, parameters = self._config.model, param_count(self._state.params)
        self._progress.say(
            f"{parameters:,} parameters, {describe_layers(model, jax.devices()[0].platform)}, "
            f"{jax.devices()[0].device_kind} ({describe_mesh(self._setup.mesh.shape)}), "
            f"batch {self._config.train.train_batch_size} x {model.max_seq_length} tokens; "
            "compiling the step ..."
        )
        if jax.device_count() > 1:
            for line in describe_layout(self._state):
                self._progress.say(line)
        structs = jax.tree.map(_struct, self._state)
        lowered = lambda: self._setup.train_step().lower(structs, self._setup.batch_structs())  # noqa: E731
        compiled, seconds = self._compiled(lowered)
        self._progress.say(memory_of(compiled, self._state, self._setup.batch_structs()).describe())
        self._progress.say(
            f"compiled in {seconds:.0f} s ({compile_cache.summary()}); training from step {self._start_step}"
        )
        return compiled

    def _compiled(self, lower: Callable[[], jax.stages.Lowered]) -> tuple[jax.stages.Compiled, float]:
        """The program and the seconds it took; a signal is not kept waiting for the compiler."""
        alone = hosts.count() == 1  # several processes can only save together, at a step
        begin = time.perf_counter()
        with (
            self._stopwatch.part("compile"),
            signals.on_stop(self._save_and_exit) if alone else contextlib.nullcontext(),
        ):
            compiled = lower().compile()
        return compiled, time.perf_counter() - begin

    def _save_and_exit(self, number: int) -> None:
        """Ends the process from another thread; for when the main thread holds a whole state and is busy."""
        signals.say(number, signals.SAVING)
        try:
            if self._step != self._saved:
                self._checkpointer.save(self._step, self._state)
            self._checkpointer.wait()
        except MachineError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            os._exit(cli.EXIT_MACHINE_ERROR)
        signals.exit_now(number, self._stopped_sentence())

    def _next(self, batches: Iterator[Batch]) -> Batch | None:
        """The next batch; None where Ctrl-C, which reaches the input processes too, has ended them."""
        try:
            with self._stopwatch.part("data"):
                return next(batches)
        except Exception as error:
            if hosts.count() == 1 and self._stopped_by():
                return None
            raise MachineError(f"the input broke off at step {self._step} ({reason(error)})") from error

    def _evaluate(self, step: int) -> bool:
        """Evaluates the state; false if a signal cut it short."""
        self._progress.read()
        return self._best.evaluate(self._eval_step, step, self._state.variables, self._stopped_by)

    @functools.cached_property
    def _eval_step(self) -> EvalStep:
        abstract = jax.tree.map(_struct, self._state.variables)
        structs = self._setup.batch_structs(training=False)
        return self._compiled(lambda: self._setup.eval_step().lower(abstract, structs))[0]

    def _save(self, step: int) -> None:
        score = self._best.score(step)
        if step == self._saved and score is None:
            return
        self._progress.read()  # never save a state whose step was not seen to be finite
        with self._stopwatch.part("save"):
            self._checkpointer.save(step, self._state, score)
        self._saved = step

    def _rescue(self) -> str:
        """After an error elsewhere: saves the state in hand if it is good; says what is saved."""
        if hosts.count() == 1:  # several can only save together
            with contextlib.suppress(Exception):
                self._progress.read()
                self._save(self._step)
                self._checkpointer.wait()
        kept = self._checkpointer.latest_on_disk()
        if kept is None:
            return "nothing is saved yet"
        return f"step {kept} is saved, the same command goes on from there"

    def _say_end(self, stopped: int) -> None:
        self._progress.end(self._step)
        if stopped:
            self._progress.say(self._stopped_sentence())
        else:
            early = (
                f" of {self._num_steps}, the score has stopped rising" if self._step < self._num_steps else ""
            )
            best = f"; best score {found[1]:.4f} at step {found[0]}" if (found := self._best.best) else ""
            self._progress.say(f"done: step {self._step}{early}{best}; {self._places()}")

    def _stopped_sentence(self) -> str:
        return (
            f"stopped at step {self._step} of {self._num_steps}, saved; "
            f"the same command goes on from here; {self._places()}"
        )

    def _places(self) -> str:
        return f"checkpoint {self._checkpointer.folder(self._step)}, metrics {self._workdir}/{METRICS_FILE}"


def _struct(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _due(step: int, frequency: int) -> bool:
    """Whether something done every `frequency` steps is due; never at step 0, never for frequency 0."""
    return step > 0 and frequency > 0 and step % frequency == 0
