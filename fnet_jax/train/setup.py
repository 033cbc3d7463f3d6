"""What training and evaluation set up alike: data set, mesh, model, shardings."""

import dataclasses
import math
import os
import tempfile
from collections.abc import Iterator

import jax
import optax
from jax.sharding import Mesh

from fnet_jax.core.batch import Batch, BatchSpec
from fnet_jax.core.checks import check, check_mesh
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import batch_sharding, create_mesh, mesh_of, replicated
from fnet_jax.data.pipeline import WithExampleIds, iterate
from fnet_jax.runtime import hosts
from fnet_jax.tasks.interface import Dataset, Objective
from fnet_jax.tasks.kinds import make_objective
from fnet_jax.tasks.open import open_dataset
from fnet_jax.train.batches import local_rows, put_batches
from fnet_jax.train.optim import check_rules, make_optimizer, make_schedule, parse_rules
from fnet_jax.train.state import TrainState, abstract_state
from fnet_jax.train.step import make_eval_step, make_train_step


@dataclasses.dataclass(frozen=True)
class Setup:
    """A config made concrete: everything but arrays and files that change.

    Attributes:
        config: with all that only the data tell filled in.
        dataset: splits, batches, tokenizer.
        mesh: the devices; whoever traces or runs a step does so under `jax.set_mesh(setup.mesh)`.
        objective: model and loss.
        optimizer: AdamW.
        schedule: learning rate by step.
        abstract: the state as ShapeDtypeStructs with shardings.
    """

    config: Config
    dataset: Dataset
    mesh: Mesh
    objective: Objective
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
            skip_nonfinite=self.config.train.on_nan == "skip",
        )
        # Each array comes back where it was, so that the compiled step can be called again.
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self.abstract)
        return jax.jit(step, donate_argnums=0, out_shardings=(shardings, replicated(self.mesh)))

    def eval_step(self) -> jax.stages.Wrapped:
        """The jitted evaluation step; its results are on every device, so that each host can read them."""
        return jax.jit(make_eval_step(self.objective), out_shardings=replicated(self.mesh))

    def host_batches(
        self, split: str, start_step: int = 0, whole: bool = False
    ) -> tuple[Iterator[Batch], int, int]:
        """This process's rows of the batches of a split from `start_step` on.

        Args:
            split: "train" (endless: epoch after epoch) or one of `dataset.eval_splits` and others (each
                example once, tail padded).
            start_step: batches to leave out.
            whole: all of the split, whatever `max_num_eval_steps` says.

        Returns:
            The batches, how many they are, and how many examples they hold on all hosts, padding left out.
        """
        train = self.config.train
        batch_size = train.train_batch_size if split == "train" else train.eval_batch_size
        rows = local_rows(batch_sharding(self.mesh), batch_size)
        batches = self.dataset.batches(split, batch_size=batch_size, rows=rows)
        if split == "train":
            if self.config.log.example_ids:
                batches = WithExampleIds(batches)
            stop = train.num_train_steps
            examples = (stop - start_step) * batch_size
        else:
            stop = len(batches)
            if train.max_num_eval_steps and not whole:
                stop = min(stop, train.max_num_eval_steps)
            examples = min(stop * batch_size, self.dataset.num_examples(split)) - start_step * batch_size
        made = iterate(batches, start_step, stop, num_workers=self.config.data.num_workers)
        return made, stop - start_step, examples

    def device_batches(
        self, split: str, start_step: int = 0, whole: bool = False
    ) -> tuple[Iterator[Batch], int, int]:
        """`host_batches`, moved to the devices ahead of time."""
        batches, count, examples = self.host_batches(split, start_step, whole)
        train = self.config.train
        batch_size = train.train_batch_size if split == "train" else train.eval_batch_size
        prefetch = self.config.data.prefetch
        return put_batches(batches, batch_sharding(self.mesh), batch_size, prefetch), count, examples

    def batch_structs(self, training: bool = True) -> BatchSpec:
        """A batch as ShapeDtypeStructs with shardings, to compile a step before data come."""
        sharding = batch_sharding(self.mesh)
        train = self.config.train
        spec = self.objective.batch_spec(train.train_batch_size if training else train.eval_batch_size)
        return {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
            for name, leaf in spec.items()
        }


def set_up(config: Config, workdir: str, training: bool = True) -> Setup:
    """Checks the config against data and devices and makes it concrete. Prepares the data if absent.

    Args:
        config: of the run.
        workdir: of the run.
        training: whether the training split is needed.

    Raises:
        UserError: whatever does not fit, before any device work.
    """
    mesh = _mesh(config, training)
    check_mesh(config, mesh.shape, training)
    dataset = open_dataset(config, workdir)
    if hosts.count() > 1:
        hosts.require_same(dataset.fingerprint())
    return make_setup(_resolve(config, dataset, training), mesh, dataset)


def _mesh(config: Config, training: bool) -> Mesh:
    """That of the config; whoever only reads a run takes the devices that there are, be they fewer."""
    try:
        return mesh_of(config.mesh)
    except UserError as error:
        if training:
            raise
        hosts.print_once(f"note: {error}; all devices here share the batch")
        return create_mesh()


def make_setup(config: Config, mesh: Mesh, dataset: Dataset) -> Setup:
    """Makes a config concrete that the data have completed.

    Args:
        config: with `model.vocab_size`, `model.num_outputs` and all steps filled in.
        mesh: of devices that are present, or only described, to compile for them.
        dataset: of the run; looked at only when batches are asked for.

    Raises:
        UserError: if a rule of `optim.learning_rate_rules` matches no parameter.
    """
    objective = make_objective(config)
    optimizer = make_optimizer(config.optim, config.train.num_train_steps)
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        abstract = abstract_state(mesh, objective, optimizer, config.seed)
    check_rules(parse_rules(config.optim.learning_rate_rules), abstract.params)
    return Setup(
        config=config,
        dataset=dataset,
        mesh=mesh,
        objective=objective,
        optimizer=optimizer,
        schedule=make_schedule(config.optim, config.train.num_train_steps),
        abstract=abstract,
    )


def _resolve(config: Config, dataset: Dataset, training: bool) -> Config:
    """Fills in what only the data tell: sizes of the model, and steps where the config counts epochs."""
    for key, value, whose in (
        ("vocab_size", dataset.vocab_size, "tokenizer's pieces"),
        ("num_outputs", dataset.num_outputs, "labels of the data"),
    ):
        if getattr(config.model, key) not in (0, value):
            raise UserError(
                f"model.{key}={getattr(config.model, key)} does not fit the {value} {whose}; set it to 0"
            )
    model = dataclasses.replace(config.model, vocab_size=dataset.vocab_size, num_outputs=dataset.num_outputs)
    if config.data.labels not in ((), dataset.labels):
        raise UserError(
            f"data.labels={config.data.labels} are not the labels of task={config.task!r}, {dataset.labels}"
        )
    data = dataclasses.replace(config.data, labels=dataset.labels)
    config = dataclasses.replace(config, model=model, data=data)
    return _count_steps(config, dataset.num_examples("train")) if training else config


def _count_steps(config: Config, num_examples: int) -> Config:
    """Steps of the epochs, and what is given as a share of them."""
    train, optim = config.train, config.optim
    steps = train.num_train_steps
    if train.num_train_epochs:
        steps = max(1, int(train.num_train_epochs * num_examples / train.train_batch_size))
    eval_frequency, warmup = train.eval_frequency, optim.num_warmup_steps
    if train.eval_proportion:
        eval_frequency = max(1, math.ceil(train.eval_proportion * steps))
    if optim.warmup_proportion:
        warmup = int(optim.warmup_proportion * steps)
    config = dataclasses.replace(
        config,
        train=dataclasses.replace(train, num_train_steps=steps, eval_frequency=eval_frequency),
        optim=dataclasses.replace(optim, num_warmup_steps=warmup),
    )
    check(config)
    return config


def check_workdir(workdir: str) -> None:
    """Makes the workdir.

    Raises:
        UserError: if it cannot be written, or the hosts do not share it.
    """
    try:
        os.makedirs(workdir, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=workdir):
            pass
    except OSError as error:
        raise UserError(
            f"--workdir={workdir} cannot be written ({error.strerror}); name another folder"
        ) from error
    if blind := hosts.processes_without(workdir):
        raise UserError(
            f"--workdir={workdir} is not one folder for all hosts: process {blind[0]} does not see what "
            "process 0 writes there; name a folder on a file system that all hosts share"
        )
