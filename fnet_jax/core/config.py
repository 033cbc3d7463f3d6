"""Types and checks of the config: `ml_collections` at the border, frozen dataclasses inside.

`configs/base.py` declares each key's default and meaning; the dataclasses here give its type and
valid values. `parse` turns one into the other and refuses, with one sentence, whatever cannot work.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, Literal

import ml_collections

from fnet_jax.core.errors import UserError

Mixer = Literal["fourier", "hartley", "dct", "hadamard", "linear", "random", "attention", "ff_only"]
FourierImpl = Literal["auto", "fft", "dft"]
Layout = Literal["bottom", "middle", "mixed", "top"]
Schedule = Literal["linear", "cosine", "rsqrt", "constant"]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The encoder and its heads; all that `nn` needs to know."""

    mixer: Mixer
    fourier_impl: FourierImpl
    num_attention_layers: int
    attention_layout: Layout
    num_layers: int
    d_model: int
    d_emb: int
    d_ff: int
    num_heads: int
    max_seq_length: int
    type_vocab_size: int
    vocab_size: int
    dropout_rate: float
    mixing_dropout_rate: float
    dtype: Literal["float32", "bfloat16"]
    remat: bool

    @property
    def has_attention(self) -> bool:
        """Whether any layer is an attention layer."""
        return self.mixer == "attention" or self.num_attention_layers > 0


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Corpus, tokenizer, prepared data set and what is made of it."""

    corpus: str
    text_field: str
    tokenizer: str
    tokenizer_pieces: int
    tokenizer_algorithm: Literal["bpe", "unigram"]
    dir: str
    holdout_fraction: float
    next_sentence: Literal["swap", "random"]
    max_predictions_per_seq: int
    masking_rate: float
    mask_token_proportion: float
    random_token_proportion: float
    whole_word_masking: bool
    num_workers: int
    prefetch: int


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule."""

    learning_rate: float
    schedule: Schedule
    num_warmup_steps: int
    adam_b1: float
    adam_b2: float
    adam_eps: float
    weight_decay: float
    decay_mask: Literal["all", "matrices"]
    clipped_grad_norm: float


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Steps, batches, evaluations and checkpoints."""

    num_train_steps: int
    train_batch_size: int
    gradient_accum_steps: int
    eval_batch_size: int
    eval_frequency: int
    max_num_eval_steps: int
    save_checkpoints_steps: int
    max_to_keep: int
    log_frequency: int


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Sizes of the mesh axes."""

    data: int


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Where metrics go beside the console, JSONL and TensorBoard."""

    wandb_project: str
    profile_start: int
    profile_steps: int


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole run."""

    seed: int
    init_from: str
    model: ModelConfig
    data: DataConfig
    optim: OptimConfig
    train: TrainConfig
    mesh: MeshConfig
    log: LogConfig


def parse(config: ml_collections.ConfigDict, overrides: Collection[str] = ()) -> Config:
    """Turns a ConfigDict into the typed, checked `Config`.

    Args:
        config: has exactly the keys of `configs/base.py`.
        overrides: dotted keys that the user set by hand; one that has no effect is refused.

    Raises:
        UserError: naming the key, its value and what would be valid.
    """
    parsed = _section(Config, config.to_dict(), "")
    _check(parsed)
    for key in overrides:
        _check_alive(parsed, key)
    return parsed


def to_dict(config: Config) -> dict[str, Any]:
    """The config as nested plain dicts, ready for JSON."""
    return dataclasses.asdict(config)


def from_dict(values: Mapping[str, Any]) -> Config:
    """The inverse of `to_dict`, with the checks of `parse`."""
    return parse(ml_collections.ConfigDict(values))


def unknown_key(key: str) -> str:
    """A sentence that names the closest keys if no config declares the dotted `key`, or nothing."""
    cls: Any = Config
    done: list[str] = []
    for name in key.split("."):
        hints = typing.get_type_hints(cls) if dataclasses.is_dataclass(cls) else {}
        if name not in hints:
            prefix = "".join(part + "." for part in done)
            return f"config key {prefix}{name} is unknown; {_closest(name, hints)}"
        done.append(name)
        cls = hints[name]
    return ""


def differences(old: Config, new: Config) -> list[str]:
    """One line "key: old -> new" per key whose value differs."""
    before, after = _flat(to_dict(old)), _flat(to_dict(new))
    return [f"{key}: {before[key]!r} -> {after[key]!r}" for key in after if before[key] != after[key]]


def check_devices(config: Config, num_devices: int) -> None:
    """Refuses batches that do not divide over `num_devices` devices.

    Raises:
        UserError: naming the batch key and the nearest size that divides.
    """
    parts = {
        "train_batch_size": num_devices * config.train.gradient_accum_steps,
        "eval_batch_size": num_devices,
    }
    for key, divisor in parts.items():
        size = getattr(config.train, key)
        if size % divisor:
            nearest = max(divisor, round(size / divisor) * divisor)
            accum = (
                ""
                if divisor == num_devices
                else f" x gradient_accum_steps={config.train.gradient_accum_steps}"
            )
            raise UserError(
                f"train.{key}={size} does not divide over {num_devices} devices{accum}; try {nearest}"
            )


def parse_arg(arg: str, *, choices: Mapping[str, Collection[str]] | None = None, **defaults: Any) -> Any:
    """Parses the text after the colon of `--config=file.py:arg`.

    Args:
        arg: comma-separated `key=value`; a bare `key` sets a boolean.
        choices: valid values of some keys.
        **defaults: the keys with their default values; their types are the types expected.

    Returns:
        A namespace with one attribute per key of `defaults`.

    Raises:
        UserError: for an unknown key, a value of the wrong type or outside `choices`.
    """
    values = dict(defaults)
    for item in filter(None, arg.split(",")):
        key, has_value, text = item.partition("=")
        if key not in defaults:
            raise UserError(f"config argument {key!r} is unknown; {_closest(key, defaults)}")
        kind = type(defaults[key])
        if kind is bool:
            text = text.lower() if has_value else "true"
            if text not in ("true", "false"):
                raise UserError(f"config argument {key}={text!r} must be true or false")
            values[key] = text == "true"
        else:
            try:
                values[key] = kind(text)
            except ValueError:
                raise UserError(f"config argument {key}={text!r} must be of type {kind.__name__}") from None
    for key, valid in (choices or {}).items():
        if values[key] not in valid:
            raise UserError(
                f"config argument {key}={values[key]!r} is unknown; {_closest(values[key], valid)}"
            )
    return types.SimpleNamespace(**values)


def _section(cls: type, values: Mapping[str, Any], prefix: str) -> Any:
    """Builds one dataclass from its dict, checking names and types."""
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise UserError(f"config key {prefix}{key} is unknown; {_closest(key, hints)}")
    fields = {}
    for name, hint in hints.items():
        key = prefix + name
        if name not in values:
            raise UserError(f"config key {key} is missing; start from configs/base.py, which declares it")
        if dataclasses.is_dataclass(hint):
            fields[name] = _section(typing.cast(type, hint), values[name], key + ".")
        else:
            fields[name] = _value(key, values[name], hint)
    return cls(**fields)


def _value(key: str, value: Any, hint: Any) -> Any:
    """Checks one value against its type."""
    if typing.get_origin(hint) is Literal:
        valid = typing.get_args(hint)
        if value not in valid:
            raise UserError(f"{key}={value!r} is unknown; {_closest(str(value), valid)}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise UserError(f"{key}={value!r} must be of type {hint.__name__}")
    return value


def _closest(word: str, valid: Collection[str]) -> str:
    """ "did you mean X?" when something is close, the whole list otherwise."""
    close = difflib.get_close_matches(word, list(valid), n=1)
    listing = f"valid: {', '.join(valid)}"
    return f"did you mean {close[0]}? ({listing})" if close else listing


def _check(c: Config) -> None:
    """Refuses values that cannot work, alone or together."""
    m, d, o, t = c.model, c.data, c.optim, c.train
    positive = {
        "model": "num_layers d_model d_emb d_ff num_heads max_seq_length type_vocab_size",
        "data": "tokenizer_pieces max_predictions_per_seq masking_rate prefetch",
        "optim": "learning_rate adam_eps",
        "train": "num_train_steps train_batch_size gradient_accum_steps eval_batch_size "
        "save_checkpoints_steps max_to_keep log_frequency",
        "log": "profile_steps",
    }
    not_negative = {
        "model": "vocab_size num_attention_layers",
        "data": "num_workers random_token_proportion mask_token_proportion",
        "optim": "num_warmup_steps weight_decay clipped_grad_norm",
        "train": "eval_frequency max_num_eval_steps",
        "log": "profile_start",
    }
    below_one = {
        "model": "dropout_rate mixing_dropout_rate",
        "data": "masking_rate holdout_fraction",
        "optim": "adam_b1 adam_b2",
    }
    for table, valid, holds in (
        (positive, "greater than 0", lambda v: v > 0),
        (not_negative, "0 or more", lambda v: v >= 0),
        (below_one, "at least 0 and below 1", lambda v: 0 <= v < 1),
    ):
        for section, names in table.items():
            for name in names.split():
                value = getattr(getattr(c, section), name)
                _require(holds(value), f"{section}.{name}={value} must be {valid}")

    _require(0 <= c.seed < 2**32, f"seed={c.seed} must be at least 0 and below 2**32")
    _require(m.max_seq_length >= 8, f"model.max_seq_length={m.max_seq_length} must be at least 8")
    _require(
        m.type_vocab_size >= 2,
        f"model.type_vocab_size={m.type_vocab_size} must be at least 2 (segments A and B)",
    )
    _require(
        not m.has_attention or m.d_model % m.num_heads == 0,
        f"model.d_model={m.d_model} is not divisible by model.num_heads={m.num_heads}, which attention needs",
    )
    _require(
        m.mixer != "hadamard" or m.d_model % 2 == 0,
        f"model.d_model={m.d_model} must be even for model.mixer='hadamard'; try {m.d_model + 1}",
    )
    _require(
        m.num_attention_layers <= m.num_layers,
        f"model.num_attention_layers={m.num_attention_layers} exceeds model.num_layers={m.num_layers}",
    )
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
    _require(d.holdout_fraction > 0, f"data.holdout_fraction={d.holdout_fraction} must be greater than 0")
    shares = d.mask_token_proportion + d.random_token_proportion
    _require(
        shares <= 1 + 1e-9,
        f"data.mask_token_proportion + data.random_token_proportion = {shares:g} must not exceed 1",
    )
    _require(
        o.schedule == "constant" or o.num_warmup_steps < t.num_train_steps,
        f"optim.num_warmup_steps={o.num_warmup_steps} must be below "
        f"train.num_train_steps={t.num_train_steps}",
    )
    _require(
        o.schedule != "rsqrt" or o.num_warmup_steps > 0,
        "optim.num_warmup_steps=0 must be greater than 0 for optim.schedule='rsqrt'",
    )
    _require(
        t.train_batch_size % t.gradient_accum_steps == 0,
        f"train.gradient_accum_steps={t.gradient_accum_steps} does not divide "
        f"train.train_batch_size={t.train_batch_size}",
    )
    _require(
        c.mesh.data == -1 or c.mesh.data > 0,
        f"mesh.data={c.mesh.data} must be -1 (all devices) or greater than 0",
    )


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise UserError(message)


def _check_alive(c: Config, key: str) -> None:
    """Refuses a key set by hand that this config never reads."""
    m, d = c.model, c.data
    own_tokenizer = ("data.tokenizer is given", d.tokenizer == "")
    dead_unless = {
        "model.fourier_impl": (f"model.mixer={m.mixer!r}", m.mixer in ("fourier", "hartley")),
        "model.num_attention_layers": (
            "model.mixer='attention' already is attention",
            m.mixer != "attention",
        ),
        "model.attention_layout": ("model.num_attention_layers=0", m.num_attention_layers > 0),
        "model.num_heads": ("no layer is an attention layer", m.has_attention),
        "model.mixing_dropout_rate": ("no layer is an attention layer", m.has_attention),
        "data.tokenizer_pieces": own_tokenizer,
        "data.tokenizer_algorithm": own_tokenizer,
        "data.text_field": ("data.corpus='pydocs' has no fields", d.corpus != "pydocs"),
        "optim.decay_mask": ("optim.weight_decay=0", c.optim.weight_decay > 0),
        "log.profile_steps": ("log.profile_start=0", c.log.profile_start > 0),
    }
    if key in dead_unless:
        why, alive = dead_unless[key]
        _require(alive, f"config key {key} was set but has no effect: {why}; remove it")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
