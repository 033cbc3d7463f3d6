"""What training and evaluation set up alike: data set, mesh, model, shardings."""

import dataclasses
import os
from collections.abc import Iterable, Iterator

import jax
import optax
from jax.sharding import Mesh

from fnet_jax.core.batch import Batch, BatchSpec
from fnet_jax.core.config import Config, check_devices
from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import batch_sharding, create_mesh
from fnet_jax.data import prepare
from fnet_jax.data.pipeline import PretrainBatches, Split, iterate
from fnet_jax.train.objective import Pretraining
from fnet_jax.train.optim import make_optimizer, make_schedule
from fnet_jax.train.state import TrainState, abstract_state
from fnet_jax.train.step import make_eval_step, make_train_step


@dataclasses.dataclass(frozen=True)
class Run:
    """A config made concrete: everything but arrays and files that change.

    Attributes:
        config: with `model.vocab_size` filled in.
        data_dir: the prepared data set.
        mesh: the devices; whoever traces or runs a step does so under `jax.set_mesh(run.mesh)`.
        objective: model and loss.
        optimizer: AdamW.
        schedule: learning rate by step.
        abstract: the state as ShapeDtypeStructs with shardings.
    """

    config: Config
    data_dir: str
    mesh: Mesh
    objective: Pretraining
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    abstract: TrainState

    def train_step(self) -> jax.stages.Wrapped:
        """The jitted training step; the state it is given is donated."""
        step = make_train_step(
            self.objective,
            self.optimizer,
            self.schedule,
            self.config.seed,
            self.config.train.gradient_accum_steps,
        )
        return jax.jit(step, donate_argnums=0)

    def eval_step(self) -> jax.stages.Wrapped:
        """The jitted evaluation step."""
        return jax.jit(make_eval_step(self.objective))

    def host_batches(
        self, split: Split, start_step: int = 0, whole: bool = False
    ) -> tuple[Iterator[Batch], int]:
        """This process's rows of the batches of a split from `start_step` on, and how many follow.

        Args:
            split: "train" (endless: epoch after epoch) or "heldout" (each example once, tail padded).
            start_step: batches to leave out.
            whole: all of the held-out split, whatever `max_num_eval_steps` says.
        """
        train = self.config.train
        batches = PretrainBatches(
            self.data_dir,
            split,
            self.config.data,
            max_seq_length=self.config.model.max_seq_length,
            batch_size=train.train_batch_size if split == "train" else train.eval_batch_size,
            seed=self.config.seed,
            host_index=jax.process_index(),
            host_count=jax.process_count(),
        )
        if split == "train":
            stop = train.num_train_steps
        else:
            stop = len(batches)
            if train.max_num_eval_steps and not whole:
                stop = min(stop, train.max_num_eval_steps)
        return iterate(batches, start_step, stop, num_workers=self.config.data.num_workers), stop - start_step

    def device_batches(self, split: Split, start_step: int = 0) -> tuple[Iterator[Batch], int]:
        """`host_batches`, moved to the devices ahead of time."""
        batches, count = self.host_batches(split, start_step)
        return put_batches(batches, batch_sharding(self.mesh), self.config.data.prefetch), count

    def batch_structs(self) -> BatchSpec:
        """A training batch as ShapeDtypeStructs with shardings, to compile the step before data come."""
        sharding = batch_sharding(self.mesh)
        spec = self.objective.batch_spec(self.config.train.train_batch_size)
        return {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
            for name, leaf in spec.items()
        }


def set_up(config: Config, workdir: str) -> Run:
    """Checks the config against data and devices and makes it concrete. Prepares the data if absent.

    Raises:
        UserError: whatever does not fit, before any device work.
    """
    mesh = create_mesh(config.mesh.data)
    check_devices(config, mesh.size)
    info = prepare.ensure(config.data, config.model.max_seq_length, workdir)
    if config.model.vocab_size not in (0, info.vocab_size):
        raise UserError(
            f"model.vocab_size={config.model.vocab_size} is not the tokenizer's {info.vocab_size} "
            "pieces; set it to 0"
        )
    model = dataclasses.replace(config.model, vocab_size=info.vocab_size)
    config = dataclasses.replace(config, model=model)
    objective = Pretraining(config)
    optimizer = make_optimizer(config.optim, config.train.num_train_steps)
    with jax.set_mesh(mesh):
        abstract = abstract_state(mesh, objective, optimizer, config.seed)
    return Run(
        config=config,
        data_dir=prepare.dataset_dir(config.data, workdir),
        mesh=mesh,
        objective=objective,
        optimizer=optimizer,
        schedule=make_schedule(config.optim, config.train.num_train_steps),
        abstract=abstract,
    )


def put_batches(batches: Iterable[Batch], sharding: jax.sharding.Sharding, ahead: int) -> Iterator[Batch]:
    """Moves host batches to the devices, `ahead` of them before they are asked for.

    Each process gives its own rows; together they are the global batch.
    """
    queue: list[Batch] = []
    for batch in batches:
        queue.append(
            {name: jax.make_array_from_process_local_data(sharding, value) for name, value in batch.items()}
        )
        if len(queue) > ahead:
            yield queue.pop(0)
    yield from queue


def check_workdir(workdir: str) -> None:
    """Makes the workdir.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        os.makedirs(workdir, exist_ok=True)
        probe = os.path.join(workdir, ".write_probe")
        with open(probe, "w", encoding="utf-8"):
            pass
        os.remove(probe)
    except OSError as error:
        raise UserError(
            f"--workdir={workdir} cannot be written ({error.strerror}); name another folder"
        ) from error
