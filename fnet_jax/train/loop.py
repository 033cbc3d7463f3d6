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
from fnet_jax.core.errors import MachineError, reason
from fnet_jax.core.mesh import describe_mesh
from fnet_jax.nn.encoder import describe_layers
from fnet_jax.nn.heads import param_count
from fnet_jax.runtime import cli, compile_cache, hosts, lock, signals
from fnet_jax.train import perf
from fnet_jax.train.batches import train_batches
from fnet_jax.train.checkpoints.best import BestTracker
from fnet_jax.train.checkpoints.checkpointer import Checkpointer, SaveError
from fnet_jax.train.evaluate import Interrupted, evaluate_split
from fnet_jax.train.logs.writers import METRICS_FILE, import_wandb
from fnet_jax.train.memory import describe_layout, memory_of
from fnet_jax.train.progress import DivergedError, Progress
from fnet_jax.train.setup import Setup, set_up
from fnet_jax.train.start import check_workdir, start
from fnet_jax.train.state import TrainState
from fnet_jax.train.step import EvalStep, TrainStep
from fnet_jax.train.stopping import stop_together


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
        # Waiting for data is part of a step: to note it would write the file twice a step.
        note = lambda part: held.note(part) if held and part != "data" else None  # noqa: E731
        return _train(config, workdir, perf.Stopwatch(started, note))
    finally:
        if held:
            held.release()


def _train(config: Config, workdir: str, stopwatch: perf.Stopwatch) -> int:
    with stopwatch.part("prepare"):
        setup = set_up(config, workdir)
    with Checkpointer(workdir, config.train.max_to_keep) as checkpointer, jax.set_mesh(setup.mesh):
        begun = start(setup, checkpointer)
        if begun is None:
            return 0
        with signals.deferred(signals.SAVING) as stop:
            stopped_by = stop_together(lambda: stop.number, setup.mesh)
            return _Loop(setup, *begun, checkpointer, stopped_by, stopwatch).run()


class _Loop:
    """A run from its first state to its last: `run` is the whole, `_steps` the loop, the others its verbs."""

    def __init__(
        self,
        setup: Setup,
        state: TrainState,
        start_step: int,
        best: BestTracker,
        checkpointer: Checkpointer,
        stopped_by: Callable[[], int],
        stopwatch: perf.Stopwatch,
    ):
        self._setup, self._config, self._checkpointer = setup, setup.config, checkpointer
        self._state, self._step, self._start_step, self._best = state, start_step, start_step, best
        self._num_steps = setup.config.train.num_train_steps
        self._stopped_by, self._stopwatch = stopped_by, stopwatch
        self._saved = -1 if hosts.broadcast(checkpointer.latest()) is None else start_step
        self._progress = Progress(setup, start_step, stopwatch)
        self._profile = perf.ProfileWindow(setup.config.log, setup.workdir, self._progress.say)

    def run(self) -> int:
        """Trains until done or stopped; returns the exit code."""
        try:
            train_step = self._compile_train_step()
            batches = train_batches(self._setup, self._start_step)
            with jax.transfer_guard("disallow"):
                stopped = self._steps(train_step, batches)
            with self._stopwatch.part("save"):
                self._checkpointer.wait()
            self._say_end(stopped)
            return 128 + stopped if stopped else 0
        except DivergedError as error:
            self._say_diverged(error)
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

    def _steps(self, train_step: TrainStep, batches: Iterator[Batch]) -> int:
        """The loop; returns the number of the signal that stopped it, or 0."""
        train = self._config.train
        while True:
            step = self._step  # so many steps have made the state
            is_last = step == self._num_steps
            stopped = self._stopped_by()

            # 1. Evaluate the state, unless it was evaluated before or the run is to stop.
            evaluate = (is_last or _due(step, train.eval_frequency)) and self._is_fresh(step) and not stopped
            if evaluate and not self._evaluate(step):
                stopped = self._stopped_by()
            is_last = is_last or self._best.has_stopped_rising(step)

            # 2. Save it, where that is due, with its score if it has one, and before the run ends.
            has_score = train.keep_best and evaluate
            if is_last or stopped or has_score or _due(step, train.save_checkpoints_steps):
                self._save(step)
            if is_last or stopped:
                return stopped

            # 3. Take a batch and a step, then log the step before, whose results are there by now.
            self._profile.at(step, self._state)
            repeated = step < self._progress.repeated_until
            with self._stopwatch.part("repeat" if repeated else "steps"):
                batch = self._next(batches)
                if batch is None:
                    self._save(step)
                    return self._stopped_by()
                self._state, sums = train_step(self._state, batch)
                self._step = step + 1
                self._progress.dispatched(step + 1, sums)

    def _is_fresh(self, step: int) -> bool:
        """Whether the state has yet to be evaluated; at a start, a signal may have cut that short before."""
        if step == self._start_step:
            return step > 0 and step not in self._progress.evaluated
        return True

    def _compile_train_step(self) -> TrainStep:
        """Compiles the step before the first batch is needed, and says how large things are."""
        setup, model = self._setup, self._config.model
        device, parameters = jax.devices()[0], param_count(setup.abstract.params)
        self._progress.say(
            f"{parameters:,} parameters, {describe_layers(model, device.platform)}, "
            f"{device.device_kind} ({describe_mesh(setup.mesh.shape)}), "
            f"batch {self._config.train.train_batch_size} x {model.max_seq_length} tokens; "
            "compiling the step ..."
        )
        if jax.device_count() > 1:
            for line in describe_layout(setup.abstract):
                self._progress.say(line)
        begin = time.perf_counter()
        compiled = self._compile(training=True)
        seconds = time.perf_counter() - begin
        self._progress.say(memory_of(compiled, setup.abstract, setup.batch_structs()).describe())
        self._progress.say(
            f"compiled in {seconds:.0f} s ({compile_cache.summary()}); training from step {self._start_step}"
        )
        return compiled

    @functools.cached_property
    def _eval_step(self) -> EvalStep:
        return self._compile(training=False)

    def _compile(self, training: bool) -> jax.stages.Compiled:
        """The training or evaluation step; a signal is not kept waiting for the compiler."""
        alone = hosts.count() == 1  # several processes can only save together, at a step
        with (
            self._stopwatch.part("compile"),
            signals.on_stop(self._save_and_exit) if alone else contextlib.nullcontext(),
        ):
            return self._setup.lower(training).compile()

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
        """Evaluates the state on the first split; false if a signal cut it short."""
        self._progress.read()
        eval_step, split = self._eval_step, self._setup.dataset.eval_splits[0]
        with self._stopwatch.part("evaluate"):
            try:
                found = evaluate_split(
                    self._setup, eval_step, self._state.variables, split, stopped=self._stopped_by
                )
            except Interrupted:
                return False
            self._progress.evaluation(step, found.values, found.scores.warnings if found.scores else ())
            self._best.add(step, found.values)
        return True

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

    def _say_diverged(self, error: DivergedError) -> None:
        self._checkpointer.wait()
        kept = self._checkpointer.latest()
        good = "no checkpoint was due yet" if kept is None else f"the last good checkpoint is step {kept}"
        self._progress.say(
            f"error: {error}; {good}; try a lower optim.learning_rate or optim.clipped_grad_norm=1.0"
        )

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
        checkpoint = self._checkpointer.folder(self._step)
        return f"checkpoint {checkpoint}, metrics {self._setup.workdir}/{METRICS_FILE}"


def _due(step: int, frequency: int) -> bool:
    """Whether something done every `frequency` steps is due; never at step 0, never for frequency 0."""
    return step > 0 and frequency > 0 and step % frequency == 0
