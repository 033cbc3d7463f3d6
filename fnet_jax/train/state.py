"""The training state and where each of its arrays lies."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from fnet_jax.core.mesh import param_shardings, replicated
from fnet_jax.tasks.interface import Objective
from fnet_jax.tasks.metrics import Variables


@flax.struct.dataclass
class TrainState:
    """Everything a step changes or needs; dropout keys come from (seed, step), so no key is kept.

    Attributes:
        step: i32[], steps done.
        params: trained parameters, float32.
        constants: fixed matrices of the random mixer, otherwise empty.
        opt_state: of the optimizer.
    """

    step: Any
    params: Any
    constants: Any
    opt_state: optax.OptState

    @property
    def variables(self) -> Variables:
        """The Flax variables that the model is applied to."""
        return {"params": self.params, "constants": self.constants}


def init_state(objective: Objective, optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    """The state of step 0; to be traced or jitted, see `abstract_state` and `create_state`."""
    variables = objective.init(jax.random.key(seed))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        constants=variables.get("constants", {}),
        opt_state=optimizer.init(variables["params"]),
    )


def abstract_state(mesh: Mesh, objective: Objective, optimizer: optax.GradientTransformation) -> TrainState:
    """The state as ShapeDtypeStructs that carry their shardings; nothing is computed."""
    state = jax.eval_shape(lambda: init_state(objective, optimizer, seed=0))
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        state,
        state_shardings(mesh, state, optimizer),
    )


def state_shardings(mesh: Mesh, state: TrainState, optimizer: optax.GradientTransformation) -> TrainState:
    """NamedShardings of a state: optimizer moments lie where their parameters lie."""
    params, everywhere = param_shardings(mesh, state.params), replicated(mesh)
    opt_state = optax.tree.map_params(
        optimizer,
        lambda _, sharding: sharding,
        state.opt_state,
        params,
        transform_non_params=lambda _: everywhere,
    )
    return TrainState(everywhere, params, param_shardings(mesh, state.constants), opt_state)


def create_state(
    abstract: TrainState, objective: Objective, optimizer: optax.GradientTransformation, seed: int
) -> TrainState:
    """The state of step 0, each array made on the devices that `abstract` places it on."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    return jax.jit(lambda: init_state(objective, optimizer, seed), out_shardings=shardings)()
