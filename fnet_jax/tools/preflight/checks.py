"""The checks of `tools/preflight/__main__.py`: each says in one sentence what this process finds."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import jax

from fnet_jax.core import config_dict
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import axis_size, describe_mesh
from fnet_jax.core.workdir import CHECKPOINT_DIR, workdir_of
from fnet_jax.nn.heads import param_count
from fnet_jax.runtime import distributed, hosts
from fnet_jax.tools.aot import compile as aot_compile
from fnet_jax.tools.preflight import data as preflight_data
from fnet_jax.train.checkpoints.checkpointer import Checkpointer
from fnet_jax.train.concrete import DataFacts, facts_without_data
from fnet_jax.train.memory import memory_of, show_bytes
from fnet_jax.train.setup import Setup, set_up


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check finds on one process.

    Attributes:
        said: a sentence, if all is well.
        fault: a sentence, if not.
        same: what must be equal on all processes, by name; JSON must be able to hold it.
    """

    said: str = ""
    fault: str = ""
    same: dict[str, Any] = dataclasses.field(default_factory=dict)


class Preflight:
    """The checks of one process, in their order. Folders that they make are removed on leaving the context.

    Attributes:
        passed: by name of a check, whether it has passed on all processes.
    """

    def __init__(self, config: Config, workdir: str, topology: str | None = None):
        """Nothing is checked yet.

        Args:
            config: of the run.
            workdir: of the run.
            topology: TPU slice to check for; None: the devices that are here.
        """
        self.passed: dict[str, bool] = {}
        self._config, self._workdir, self._topology = config, workdir, topology
        self._facts: DataFacts | None = None
        self._setup: Setup | None = None
        self._made: list[str] = []

    def __enter__(self) -> "Preflight":
        """No folder has been made yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Removes the folders that were made."""
        for path in self._made:
            with contextlib.suppress(OSError):
                os.rmdir(path)

    def checks(self) -> Iterator[tuple[str, Callable[[], Finding]]]:
        """Names and checks; the result of each is to be in `passed` before the next one is asked for."""
        yield "versions", self._versions
        yield "config", self._same_config
        yield "data", self._data
        yield "devices", self._devices
        yield "memory", self._memory
        yield "workdir", self._workdir_of_first
        if hosts.count() > 1 and self.passed["workdir"]:
            without = hosts.processes_without(self._workdir)
            yield "shared workdir", lambda: self._workdir_of_all(without)
        yield "resume", self._resume

    def _versions(self) -> Finding:
        same = {**distributed.versions(), "commit": _commit()}
        python, jax_version = same["version of Python"], same["version of jax"]
        said = f"Python {python}, jax {jax_version}, commit {same['commit'] or 'unknown'}"
        return Finding(_on_all(said), same=same)

    def _same_config(self) -> Finding:
        values = {**config_dict.flat(self._config), "--workdir": self._workdir}
        return Finding(_on_all(f"{self._config.task}, {len(values)} values"), same=values)

    def _data(self) -> Finding:
        described = preflight_data.describe(self._config, self._workdir)
        self._facts = described.facts
        return Finding(_on_all(described.said), same=described.same)

    def _devices(self) -> Finding:
        devices = aot_compile.topology_devices(self._topology) if self._topology else jax.devices()
        facts = self._facts or facts_without_data(self._config)
        self._setup = setup = set_up(self._config, devices=devices, facts=facts)
        shape, batch_size = setup.mesh.shape, self._config.train.train_batch_size
        rows = batch_size // axis_size(shape, ("data", "fsdp"))
        kind, local = devices[0].device_kind, jax.local_device_count()
        here = f", {local} on each of {hosts.count()} processes" if hosts.count() > 1 else ""
        return Finding(
            f"{len(devices)} x {kind}{here}; mesh {describe_mesh(shape)}; {rows} of {batch_size} examples "
            f"on each, {param_count(setup.abstract.params):,} parameters",
            same={"devices per process": local, "kind of the devices": kind},
        )

    def _memory(self) -> Finding:
        setup = self._known_setup()
        compiled = aot_compile.compile_step(setup, "train")
        memory = memory_of(compiled.executable, setup.abstract, setup.batch_structs())
        needed, available = memory.peak, memory.available
        said = f"the training step needs {show_bytes(needed)} of the {show_bytes(available)} of a device"
        if needed > available:
            raise UserError(
                f"{said}; make mesh.fsdp greater, set model.remat=True, or make train.gradient_accum_steps "
                "greater or train.train_batch_size smaller"
            )
        return Finding(f"{said}, compiled in {compiled.seconds:.0f} s")

    def _workdir_of_first(self) -> Finding:
        """Process 0 makes the folder; the others look for it in `_workdir_of_all`."""
        if not hosts.is_primary():
            return Finding()
        path = self._workdir
        while not os.path.exists(path):
            self._made.append(path)
            path = os.path.dirname(path)
        _try_to_write(self._workdir)
        folder = os.path.join(self._workdir, CHECKPOINT_DIR)
        # Not through Orbax, which would wait for the other processes.
        steps = sum(name.isdigit() for name in os.listdir(folder)) if os.path.isdir(folder) else 0
        keep = self._config.train.max_to_keep + self._config.train.keep_best
        if self._setup is None:
            return Finding(f"{self._workdir} can be written; the room it needs is unknown without devices")
        state = self._setup.abstract
        size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves((state.variables, state.opt_state)))
        needed, free = size * max(keep + 1 - steps, 1), shutil.disk_usage(self._workdir).free
        said = (
            f"{self._workdir} has {show_bytes(free)} free, and checkpoints of {show_bytes(size)} will take "
            f"{show_bytes(needed)}"
        )
        if needed > free:
            raise UserError(f"{said}; make room, name another --workdir, or make train.max_to_keep smaller")
        return Finding(f"{said}; files and folders can be written and renamed")

    def _workdir_of_all(self, without: list[int]) -> Finding:
        if hosts.index() in without:
            raise UserError(
                f"does not see what process 0 writes into --workdir={self._workdir}; name a folder on a file "
                "system that all hosts share"
            )
        _try_to_write(self._workdir)
        return Finding(f"all {hosts.count()} processes see and write {self._workdir}")

    def _resume(self) -> Finding:
        with Checkpointer(self._workdir, read_only=True) as checkpoints:
            latest, total = checkpoints.latest(), self._config.train.num_train_steps
            if latest is None:
                return Finding(f"starts at step 0 {self._source()}", same={"newest checkpoint": None})
            if self._setup:
                checkpoints.check_fit(latest, self._setup.abstract)
        said = f"goes on from step {latest} of {total}"
        if latest >= total and not self._config.train.num_train_epochs:
            said = f"step {latest} of {total} is there; train.py would do nothing"
        return Finding(said, same={"newest checkpoint": latest})

    def _source(self) -> str:
        """What a fresh run starts from; without `find_checkpoint`, which all processes have to call."""
        source = self._config.init_from
        if not source:
            return "with random parameters"
        with Checkpointer(workdir_of(source), read_only=True) as checkpoints:
            if not checkpoints.steps():
                raise UserError(f"init_from={source} holds no complete checkpoint; name a run's --workdir")
        return f"with the parameters of {source}"

    def _known_setup(self) -> Setup:
        if self._setup is None:
            raise UserError("not checked, because the devices have failed")
        return self._setup


def _on_all(said: str) -> str:
    return f"{said}; equal on {hosts.count()} processes" if hosts.count() > 1 else said


def _commit() -> str:
    """The commit that git has checked out, with a plus if files were changed since; nothing without git."""
    root = pathlib.Path(__file__).parents[3]
    git = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _try_to_write(directory: str) -> None:
    """Does what a checkpoint does: writes a file into a new folder and renames both.

    Raises:
        UserError: if that fails.
    """
    try:
        os.makedirs(directory, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".preflight-", dir=directory) as own:
            old, new = os.path.join(own, "old"), os.path.join(own, "new")
            os.mkdir(old)
            with open(os.path.join(old, "file.tmp"), "wb") as file:
                file.write(b"preflight")
                file.flush()
                os.fsync(file.fileno())
            os.rename(os.path.join(old, "file.tmp"), os.path.join(old, "file"))
            os.rename(old, new)
            with open(os.path.join(new, "file"), "rb") as file:
                if file.read() != b"preflight":
                    raise UserError(f"--workdir={directory} gives back other bytes than were written")
    except OSError as error:
        raise UserError(
            f"--workdir={directory} cannot be written, or its files and folders cannot be renamed "
            f"({error.strerror}); name another folder"
        ) from error
