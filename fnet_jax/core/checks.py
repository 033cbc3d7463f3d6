"""Which values of the config can work, alone and together; everything else is refused in one sentence."""

from collections.abc import Mapping

from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.keys import declared

MASKED_TASKS = ("pretrain", "masked_lm")


def check_mesh(config: Config, sizes: Mapping[str, int], training: bool = True) -> None:
    """Refuses a batch or a model that does not divide over the mesh.

    Parameters are checked where their shardings are made, by the rules of `core/mesh.py`.

    Args:
        config: of the run.
        sizes: of the mesh axes.
        training: whether training batches are made too, not evaluation's alone.

    Raises:
        UserError: naming the key and what divides.
    """
    devices = sizes["data"] * sizes["fsdp"]
    divisors = {"eval_batch_size": devices}
    if training:
        divisors["train_batch_size"] = devices * config.train.gradient_accum_steps
    for key, divisor in divisors.items():
        size = getattr(config.train, key)
        nearest = max(divisor, round(size / divisor) * divisor)
        accum = "" if divisor == devices else f" x gradient_accum_steps={config.train.gradient_accum_steps}"
        over = f"{devices} devices" if sizes["fsdp"] == 1 else f"mesh.data·mesh.fsdp={devices} devices"
        _require(size % divisor == 0, f"train.{key}={size} does not divide over {over}{accum}; try {nearest}")
    model, predictions = config.model, config.data.max_predictions_per_seq
    seq, heads = sizes["seq"], sizes["seq"] * sizes["tensor"]
    _require(
        model.max_seq_length % seq == 0,
        f"model.max_seq_length={model.max_seq_length} does not divide over mesh.seq={seq}",
    )
    _require(
        model.d_model % (2 * seq) == 0 or seq == 1,
        f"model.d_model={model.d_model} does not divide over 2·mesh.seq={2 * seq}",
    )
    _require(
        predictions % seq == 0 or config.task not in MASKED_TASKS,
        f"data.max_predictions_per_seq={predictions} does not divide over mesh.seq={seq}; "
        f"try {-(-predictions // seq) * seq}",
    )
    _require(
        not model.has_attention or model.num_heads % heads == 0,
        f"model.num_heads={model.num_heads} does not divide over mesh.seq·mesh.tensor={heads}",
    )
    _require(
        model.fourier_impl != "pallas" or seq == 1,
        f"model.fourier_impl='pallas' needs whole examples, and mesh.seq={seq} divides them",
    )


def check(c: Config) -> None:
    """Refuses values that cannot work, alone or together.

    Raises:
        UserError: naming the key, its value and what would be valid.
    """
    m, o, t = c.model, c.optim, c.train
    for key in declared(Config):
        for rule in key.rules:
            _require(rule.holds(key.of(c)), f"{key.name}={key.of(c)} must be {rule.words}")
    _require(
        not m.has_attention or m.d_model % m.num_heads == 0,
        f"model.d_model={m.d_model} is not divisible by model.num_heads={m.num_heads}, which attention needs",
    )
    _require(
        m.attention_impl != "cudnn" or m.dtype == "bfloat16",
        f"model.attention_impl='cudnn' needs model.dtype='bfloat16', not {m.dtype!r}",
    )
    _require(
        m.attention_impl != "cudnn" or m.mixing_dropout_rate == 0,
        f"model.mixing_dropout_rate={m.mixing_dropout_rate} must be 0 for model.attention_impl='cudnn', "
        "which has no dropout",
    )
    _require(
        m.mixer != "hadamard" or m.d_model % 2 == 0,
        f"model.d_model={m.d_model} must be even for model.mixer='hadamard'; try {m.d_model + 1}",
    )
    _require(
        m.num_attention_layers <= m.num_layers,
        f"model.num_attention_layers={m.num_attention_layers} exceeds model.num_layers={m.num_layers}",
    )
    if c.task in MASKED_TASKS:
        _check_masked_lm(c)
    _require(
        o.schedule == "constant" or t.num_train_epochs > 0 or o.num_warmup_steps < t.num_train_steps,
        f"optim.num_warmup_steps={o.num_warmup_steps} must be below "
        f"train.num_train_steps={t.num_train_steps}",
    )
    _require(
        o.schedule != "rsqrt" or o.num_warmup_steps > 0 or o.warmup_proportion > 0,
        "optim.num_warmup_steps=0 must be greater than 0 for optim.schedule='rsqrt'",
    )
    _require(
        t.early_stop_evals == 0 or t.keep_best,
        f"train.early_stop_evals={t.early_stop_evals} needs train.keep_best=True, which says what is better",
    )
    _require(
        not t.keep_best or not c.is_pretraining,
        f"train.keep_best=True needs a task with a score; task={c.task!r} keeps the newest checkpoints",
    )
    _require(
        t.train_batch_size % t.gradient_accum_steps == 0,
        f"train.gradient_accum_steps={t.gradient_accum_steps} does not divide "
        f"train.train_batch_size={t.train_batch_size}",
    )


def _check_masked_lm(c: Config) -> None:
    m, d = c.model, c.data
    needed = int(m.max_seq_length * d.masking_rate)
    _require(
        d.max_predictions_per_seq >= needed,
        f"data.max_predictions_per_seq={d.max_predictions_per_seq} is too small for data.masking_rate="
        f"{d.masking_rate} at model.max_seq_length={m.max_seq_length}; use {needed} or more",
    )
    _require(
        d.max_predictions_per_seq < m.max_seq_length,
        f"data.max_predictions_per_seq={d.max_predictions_per_seq} must be below "
        f"model.max_seq_length={m.max_seq_length}",
    )
    shares = d.mask_token_proportion + d.random_token_proportion
    _require(
        shares <= 1 + 1e-9,
        f"data.mask_token_proportion + data.random_token_proportion = {shares:g} must not exceed 1",
    )


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise UserError(message)


def check_has_effect(c: Config, key: str) -> None:
    """Refuses a key set by hand that has no effect beside the other values.

    Which labelled task reads which key is known to `tasks/check.py`.

    Raises:
        UserError: naming the key and why.
    """
    m, d, o, t = c.model, c.data, c.optim, c.train
    without_effect = [
        (m.mixer not in ("fourier", "hartley"), "model.fourier_impl", f"model.mixer={m.mixer!r}"),
        (
            m.mixer == "attention",
            "model.num_attention_layers",
            "model.mixer='attention' already is attention",
        ),
        (m.num_attention_layers == 0, "model.attention_layout", "model.num_attention_layers=0"),
        (
            not m.has_attention,
            "model.num_heads model.attention_impl model.mixing_dropout_rate",
            "no layer is an attention layer",
        ),
        (d.tokenizer != "", "data.tokenizer_pieces data.tokenizer_algorithm", "data.tokenizer is given"),
        (c.is_pretraining and d.corpus == "pydocs", "data.text_field", "data.corpus='pydocs' has no fields"),
        (o.warmup_proportion > 0, "optim.num_warmup_steps", "optim.warmup_proportion is set"),
        (o.weight_decay == 0, "optim.decay_mask", "optim.weight_decay=0"),
        (t.num_train_epochs > 0, "train.num_train_steps", "train.num_train_epochs is set"),
        (t.eval_proportion > 0, "train.eval_frequency", "train.eval_proportion is set"),
        (not t.keep_best, "train.early_stop_evals", "train.keep_best is off"),
        (t.on_nan == "stop", "train.max_skipped_steps", "train.on_nan='stop'"),
        (c.log.profile_start == 0, "log.profile_steps", "log.profile_start=0"),
        (
            c.task not in MASKED_TASKS,
            "data.max_predictions_per_seq data.masking_rate data.mask_token_proportion "
            "data.random_token_proportion data.whole_word_masking",
            f"task={c.task!r} does not read it",
        ),
        (
            c.task not in ("pretrain", "next_sentence"),
            "data.next_sentence",
            f"task={c.task!r} does not read it",
        ),
        (
            c.is_pretraining,
            "data.max_train_examples data.max_eval_examples model.classifier_dropout_rate model.num_outputs "
            "train.keep_best",
            f"task={c.task!r} has no labels",
        ),
    ]
    for holds, keys, why in without_effect:
        _require(
            not (holds and key in keys.split()),
            f"config key {key} was set but has no effect: {why}; remove it",
        )
