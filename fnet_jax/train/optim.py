"""AdamW and its learning-rate schedules, as the original where it is sound."""

import jax
import optax

from fnet_jax.core.config import OptimConfig


def make_schedule(config: OptimConfig, num_train_steps: int) -> optax.Schedule:
    """The learning rate of each step.

    Linear warm-up from 0 over `num_warmup_steps`, then by `config.schedule`:

    - linear: falls linearly, is 0 at `num_train_steps` and stays 0 (the original's wraps to its peak);
    - cosine: half a cosine down to 0 at `num_train_steps`, and stays 0;
    - rsqrt: learning_rate * sqrt(num_warmup_steps / step);
    - constant.

    Returns:
        A function from the step, 0 for the first, to the learning rate.
    """
    peak, warmup = config.learning_rate, config.num_warmup_steps
    rest = max(1, num_train_steps - warmup)
    after = {
        "linear": optax.linear_schedule(peak, 0.0, rest),
        "cosine": optax.cosine_decay_schedule(peak, rest),
        "rsqrt": lambda step: peak * (warmup / (step + warmup)) ** 0.5,
        "constant": optax.constant_schedule(peak),
    }[config.schedule]
    if warmup == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def make_optimizer(config: OptimConfig, num_train_steps: int) -> optax.GradientTransformation:
    """AdamW with decoupled weight decay, after optional clipping to a global norm.

    Loshchilov & Hutter 2019 (arXiv 1711.05101); epsilon is added outside the square root.
    """
    mask = None if config.decay_mask == "all" else is_matrix
    adamw = optax.adamw(
        make_schedule(config, num_train_steps),
        b1=config.adam_b1,
        b2=config.adam_b2,
        eps=config.adam_eps,
        weight_decay=config.weight_decay,
        mask=mask,
    )
    if config.clipped_grad_norm:
        return optax.chain(optax.clip_by_global_norm(config.clipped_grad_norm), adamw)
    return adamw


def is_matrix(params: optax.Params) -> optax.Params:
    """True for each parameter that weight decay acts on under decay_mask="matrices".

    These are kernels and embeddings; by name, since scanned layers give biases a second axis.
    """

    def one(path: tuple, _: jax.Array) -> bool:
        return jax.tree_util.keystr(path[-1:], simple=True) in MATRIX_NAMES

    return jax.tree_util.tree_map_with_path(one, params)


MATRIX_NAMES = frozenset({"kernel", "embedding", "hidden_kernel", "seq_kernel", "output_kernel"})
