"""The training step, `(state, batch) -> (state, sums)`, and the evaluation step; both pure."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fnet_jax.core.batch import Batch
from fnet_jax.tasks.interface import Objective, Outputs
from fnet_jax.tasks.metrics import Sums, Variables
from fnet_jax.train.state import TrainState

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Sums]]
Gradients = tuple[jax.Array, Sums, Any]  # loss, sums, gradients
EvalStep = Callable[[Variables, Batch], tuple[Sums, Outputs]]


def make_train_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    seed: int,
    gradient_accum_steps: int = 1,
    skip_nonfinite: bool = False,
) -> TrainStep:
    """Builds the step.

    The loss is normalised by sums over the whole batch, so it depends neither on the mesh nor on
    `gradient_accum_steps`. Besides the task's sums the step returns `loss`, `grad_norm` (before
    clipping) and `learning_rate`, each over a denominator of 1.

    With `skip_nonfinite`, a step whose loss or gradient is no finite number changes nothing but the step
    number and counts in no sum but `learning_rate` and `skipped_steps`, which says whether it was one.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
        dropout_key = jax.random.fold_in(jax.random.key(seed), state.step)
        normalizers = objective.normalizers(batch)

        def gradients(part: Batch, key: jax.Array) -> Gradients:
            def loss_fn(params: Any) -> tuple[jax.Array, Sums]:
                sums, _ = objective.apply({"params": params, "constants": state.constants}, part, key)
                return objective.loss(sums, normalizers), sums

            (loss, sums), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
            return loss, sums, grads

        if gradient_accum_steps == 1:
            loss, sums, grads = gradients(batch, dropout_key)
        else:
            loss, sums, grads = _accumulate(gradients, batch, dropout_key, gradient_accum_steps)

        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        one = jnp.ones((), jnp.float32)
        sums = {
            **sums,
            "loss": (loss, one),
            "grad_norm": (optax.tree.norm(grads), one),
            "learning_rate": (jnp.asarray(schedule(state.step), jnp.float32), one),
        }
        after = dataclasses.replace(state, step=state.step + 1, params=params, opt_state=opt_state)
        return _unless_nonfinite(state, after, sums) if skip_nonfinite else (after, sums)

    return train_step


def _unless_nonfinite(before: TrainState, after: TrainState, sums: Sums) -> tuple[TrainState, Sums]:
    """The state and sums of the step; where they are not finite, those of a skipped step."""
    is_good = jnp.isfinite(sums["loss"][0]) & jnp.isfinite(sums["grad_norm"][0])
    kept = jax.tree.map(lambda new, old: jnp.where(is_good, new, old), after, before)
    counted = jax.tree.map(lambda x: jnp.where(is_good, x, jnp.zeros_like(x)), dict(sums))
    one = jnp.ones((), jnp.float32)
    skipped = (1.0 - is_good.astype(jnp.float32), one)
    counted |= {"learning_rate": sums["learning_rate"], "skipped_steps": skipped}
    return dataclasses.replace(kept, step=after.step), counted


def make_eval_step(objective: Objective) -> EvalStep:
    """Builds `(variables, batch) -> (sums, outputs)`, without dropout."""
    return lambda variables, batch: objective.apply(variables, batch)


def _accumulate(
    gradients: Callable[[Batch, jax.Array], Gradients], batch: Batch, dropout_key: jax.Array, num_parts: int
) -> Gradients:
    """Adds up loss, sums and gradients over `num_parts` parts of the batch, one after the other."""

    # Part k takes every `num_parts`-th example: each device keeps the examples it has, none moves.
    split = {
        name: jnp.swapaxes(x.reshape(x.shape[0] // num_parts, num_parts, *x.shape[1:]), 0, 1)
        for name, x in batch.items()
    }
    keys = jax.random.split(dropout_key, num_parts)
    shapes = jax.eval_shape(gradients, {name: x[0] for name, x in split.items()}, keys[0])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def body(total: Gradients, part: tuple[Batch, jax.Array]) -> tuple[Gradients, None]:
        return jax.tree.map(jnp.add, total, gradients(*part)), None

    total, _ = jax.lax.scan(body, zeros, (split, keys))
    return total
