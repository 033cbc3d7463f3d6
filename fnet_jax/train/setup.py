"""A run before its first step: data, mesh, model and loss, optimizer, and where each array will lie."""

import dataclasses
from collections.abc import Sequence
from typing import cast

import jax
import optax
from jax.sharding import Mesh

from fnet_jax.core.batch import BatchSpec
from fnet_jax.core.checks import check_mesh
from fnet_jax.core.config import Config, MeshConfig
from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import batch_sharding, create_mesh, mesh_of, replicated
from fnet_jax.runtime import hosts
from fnet_jax.tasks.interface import Dataset, Objective
from fnet_jax.tasks.kinds import make_objective
from fnet_jax.tasks.open import open_dataset
from fnet_jax.train.concrete import DataFacts, make_concrete
from fnet_jax.train.optim import check_rules, make_optimizer, make_schedule
from fnet_jax.train.state import TrainState, abstract_state
from fnet_jax.train.step import make_eval_step, make_train_step


@dataclasses.dataclass(frozen=True)
class Setup:
    """All of a run but its arrays, and files that change.

    Attributes:
        config: concrete, see `make_concrete`.
        workdir: of the run; "" where nothing is read or written.
        dataset: splits, batches, tokenizer.
        mesh: the devices; whoever traces or runs a step does so under `jax.set_mesh(setup.mesh)`.
        objective: model and loss.
        optimizer: AdamW.
        schedule: learning rate by step.
        abstract: the state as ShapeDtypeStructs with shardings.
    """

    config: Config
    workdir: str
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

    def lower(self, training: bool = True) -> jax.stages.Lowered:
        """The training or evaluation step, ready to compile; call it under `jax.set_mesh(setup.mesh)`."""
        step = self.train_step() if training else self.eval_step()
        state = self.abstract if training else self.abstract.variables
        return step.lower(state, self.batch_structs(training))

    def batch_structs(self, training: bool = True) -> BatchSpec:
        """A batch as ShapeDtypeStructs with shardings, to compile a step before data come."""
        sharding = batch_sharding(self.mesh)
        train = self.config.train
        spec = self.objective.batch_spec(train.train_batch_size if training else train.eval_batch_size)
        return {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
            for name, leaf in spec.items()
        }


def set_up(
    config: Config,
    workdir: str = "",
    *,
    training: bool = True,
    devices: Sequence[jax.Device] | None = None,
    facts: DataFacts | None = None,
) -> Setup:
    """Makes a config concrete, and what runs it: to train, to evaluate, to compile ahead of time, to time it.

    1. A mesh over the devices. Whether batch and model divide over it is asked before the data are opened,
       which may take hours where they are yet to be prepared.
    2. What the data tell: the files are opened, prepared if absent, and compared between the hosts. With
       `facts` no file is read.
    3. The config with all numbers, see `make_concrete`.
    4. Model and loss, optimizer, and the state as shapes with shardings.

    Args:
        config: of the run.
        workdir: of the run.
        training: whether the training split and a training batch are needed.
        devices: present, or only described, to compile for them; by default all that there are.
        facts: for those who compile without data; the setup then has no `dataset`.

    Raises:
        UserError: for whatever does not fit, before any work on the devices.
    """
    mesh = _make_mesh(config.mesh, devices, training)
    check_mesh(config, mesh.shape, training)
    dataset = None
    if facts is None:
        dataset = open_dataset(config, workdir)
        if hosts.count() > 1:
            hosts.require_same(dataset.fingerprint())
        num_train_examples = dataset.num_examples("train") if training else None
        facts = DataFacts(dataset.vocab_size, dataset.labels, dataset.num_outputs, num_train_examples)
    config = make_concrete(config, facts)
    objective = make_objective(config)
    optimizer = make_optimizer(config.optim, config.train.num_train_steps)
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        abstract = abstract_state(mesh, objective, optimizer)
    check_rules(config.optim.learning_rate_rules, abstract.params)
    return Setup(
        config=config,
        workdir=workdir,
        dataset=cast(Dataset, dataset),
        mesh=mesh,
        objective=objective,
        optimizer=optimizer,
        schedule=make_schedule(config.optim, config.train.num_train_steps),
        abstract=abstract,
    )


def _make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None, training: bool) -> Mesh:
    """The mesh of the config; for an evaluation on fewer devices than it names, all that there are."""
    try:
        return mesh_of(config, devices)
    except UserError as error:
        if training or devices is not None:
            raise
        hosts.print_once(f"note: {error}; all devices here share the batch")
        return create_mesh()
