"""AdamW and its learning-rate schedules; `make_schedule` says where the original's differ."""

import re

import jax
import jax.numpy as jnp
import optax

from fnet_jax.core.config import OptimConfig
from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import path_str


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
    """AdamW with decoupled weight decay, after optional clipping to a global norm, by parameter rules.

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
    steps = [adamw]
    if config.clipped_grad_norm:
        steps.insert(0, optax.clip_by_global_norm(config.clipped_grad_norm))
    if config.learning_rate_rules:
        steps.append(scale_by_rules(parse_rules(config.learning_rate_rules)))
    return optax.chain(*steps) if len(steps) > 1 else adamw


Rules = tuple[tuple[str, float], ...]  # regular expression for a parameter's path, factor


def parse_rules(text: str) -> Rules:
    """Reads `optim.learning_rate_rules`, "REGEX=FACTOR,REGEX=FACTOR".

    Raises:
        UserError: naming the rule that cannot be read.
    """
    rules = []
    for item in filter(None, text.split(",")):
        pattern, _, factor = item.rpartition("=")
        try:
            re.compile(pattern)
            rules.append((pattern, float(factor)))
        except (re.error, ValueError):
            pattern = ""
        if not pattern or rules[-1][1] < 0:
            raise UserError(
                f"optim.learning_rate_rules: {item!r} is no REGEX=FACTOR with a factor of 0 or more, such as "
                "encoder/embedder=0 or encoder/layer_[0-3]/=0.5"
            )
    return tuple(rules)


def scale_by_rules(rules: Rules) -> optax.GradientTransformation:
    """Multiplies each parameter's update, weight decay included, by the factor of the first rule it matches.

    0 freezes a parameter. What matches no rule keeps its update.
    """
    return optax.stateless(
        lambda updates, _: jax.tree_util.tree_map_with_path(
            lambda path, update: update * _factor(rules, path_str(path), update), updates
        )
    )


def check_rules(rules: str, params: optax.Params) -> None:
    """Refuses a rule that matches no parameter.

    Raises:
        UserError: that names the rule, and some parameters.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    names = [name for path, leaf in leaves for name in rule_paths(path_str(path), leaf)]
    for pattern, _ in parse_rules(rules):
        if not any(re.match(pattern, name) for name in names):
            raise UserError(
                f"optim.learning_rate_rules: {pattern!r} matches no parameter; they are named like "
                f"{', '.join(names[:: max(1, len(names) // 4)])}"
            )


def rule_paths(path: str, leaf: jax.Array) -> list[str]:
    """The names of a parameter for the rules: one per layer where layers are stacked.

    Args:
        path: in the tree, such as "encoder/layers_4/feed_forward/output/kernel".
        leaf: of shape [layers, ...] where the path names a run of layers.

    Returns:
        Such as "encoder/layer_4/feed_forward/output/kernel", "encoder/layer_5/feed_forward/output/kernel".
    """
    run = re.search(r"/layers_(\d+)/", path)
    if not run:
        return [path]
    first = int(run[1])
    return [path.replace(run[0], f"/layer_{layer}/", 1) for layer in range(first, first + leaf.shape[0])]


def _factor(rules: Rules, path: str, leaf: jax.Array) -> jax.Array:
    """The factor of a parameter; one per layer, [layers, 1, ...], where layers are stacked."""
    names = rule_paths(path, leaf)
    factors = [next((f for pattern, f in rules if re.match(pattern, name)), 1.0) for name in names]
    shape = (len(factors), *[1] * (leaf.ndim - 1)) if "/layers_" in path else ()
    return jnp.asarray(factors, leaf.dtype).reshape(shape)


def is_matrix(params: optax.Params) -> optax.Params:
    """True for each parameter that weight decay acts on under decay_mask="matrices".

    These are kernels and embeddings; by name, since scanned layers give biases a second axis.
    """

    def one(path: tuple, _: jax.Array) -> bool:
        return jax.tree_util.keystr(path[-1:], simple=True) in MATRIX_NAMES

    return jax.tree_util.tree_map_with_path(one, params)


MATRIX_NAMES = frozenset({"kernel", "embedding", "hidden_kernel", "seq_kernel", "output_kernel"})
