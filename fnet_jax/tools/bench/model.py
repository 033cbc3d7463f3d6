"""Whole models: the pretraining step and the forward pass, ours and Hugging Face's."""

import dataclasses
import functools
import typing
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from fnet_jax.core.batch import BatchSpec
from fnet_jax.core.checks import check
from fnet_jax.core.config import AttentionImpl, Config, Mixer, ModelConfig
from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import batch_sharding
from fnet_jax.core.special_tokens import NUM_SPECIAL_IDS
from fnet_jax.nn.heads import SequenceModel
from fnet_jax.tools.bench import onnx as bench_onnx
from fnet_jax.tools.bench import plan as plans
from fnet_jax.tools.bench import torch as bench_torch
from fnet_jax.tools.bench.mixing import IMPLS, batch_of
from fnet_jax.tools.bench.plan import BenchPlan
from fnet_jax.tools.bench.program import compile_timed, floor_seconds, repeat, timed_program
from fnet_jax.tools.bench.timing import BenchCase, CaseSetting, TimedProgram
from fnet_jax.train.concrete import facts_without_data, make_concrete
from fnet_jax.train.memory import peak_bytes
from fnet_jax.train.perf import train_flops_per_example
from fnet_jax.train.setup import set_up
from fnet_jax.train.state import create_state

CLASSES = 2
ATTENTION_IMPLS: tuple[str, ...] = typing.get_args(AttentionImpl)


def step_plan() -> BenchPlan:
    """A training step of pretraining, optimizer included, on one random batch."""
    config = plans.config()
    if config.task != "pretrain":
        raise UserError(f"task={config.task!r} cannot be timed by step; give configs/pretrain.py")
    config = make_concrete(config, facts_without_data(config))
    settings = plans.model_settings(config, [config.train.train_batch_size])
    found, warnings = _names()
    make_case = functools.partial(_step_case, config)
    return BenchPlan("Pretraining step", settings, found, make_case, "attention", warnings=warnings)


def infer_plan() -> BenchPlan:
    """The forward pass of encoder and classifier, logits f32[B, 2], on one device."""
    config = plans.config()
    config = make_concrete(config, facts_without_data(config))
    settings = plans.model_settings(config, [1, 8, 32])
    found, warnings = _names()
    if jax.default_backend() == "cpu":  # ONNX Runtime for other devices is another package for each
        how = "docs/export.md says how to add"
        lacking = plans.left_out(bench_onnx.MODELS, *bench_onnx.PACKAGES, how=how)
        found += [] if lacking or not flags.FLAGS.peers else bench_onnx.MODELS
        warnings += lacking
    make_case = functools.partial(_infer_case, config)
    return BenchPlan(
        "Inference, one label per text", settings, found, make_case, "attention", warnings=warnings
    )


def _names() -> tuple[list[str], tuple[str, ...]]:
    """The names of the cases by the flags, and warnings on those that are left out."""
    flag = flags.FLAGS
    mixers = plans.known("mixers", flag.mixers or ["fourier", "attention"], typing.get_args(Mixer))
    impls = plans.known("impls", flag.impls or ["auto"], (*IMPLS, *ATTENTION_IMPLS))
    warnings = plans.left_out(bench_torch.MODELS, "torch", "transformers")
    peers = bench_torch.MODELS if flag.peers and not warnings else []
    return [*names(mixers, impls), *peers], warnings


def names(mixers: Sequence[str], impls: Sequence[str]) -> list[str]:
    """The names of our cases: the mixer, or MIXER/IMPL where `impls` has more than "auto" for it.

    `attention` is that of the config, with its dropout; attention/xla and attention/cudnn have none.
    """
    implementations = {"fourier": IMPLS, "hartley": IMPLS, "attention": ("auto", *ATTENTION_IMPLS)}
    found = []
    for mixer in mixers:
        chosen = [impl for impl in impls if impl in implementations.get(mixer, ())] or ["auto"]
        found += [mixer if impl == "auto" else f"{mixer}/{impl}" for impl in chosen]
    return found


def variant(config: Config, setting: CaseSetting, name: str) -> Config:
    """The config of one case; masked predictions grow with the length."""
    length, batch = int(setting["length"]), batch_of(setting)
    mixer, _, impl = name.partition("/")
    mixer = {"HF FNet": "fourier", "HF BERT": "attention", **bench_onnx.MODELS}.get(mixer, mixer)
    values: dict[str, Any] = {
        "mixer": mixer,
        "max_seq_length": length,
        "dtype": setting["dtype"],
        "num_outputs": CLASSES,
    }
    if impl in ATTENTION_IMPLS:
        values |= {"attention_impl": impl, "mixing_dropout_rate": 0.0}
    elif impl:
        values["fourier_impl"] = impl
    predictions = max(1, config.data.max_predictions_per_seq * length // config.model.max_seq_length)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, **values),
        data=dataclasses.replace(config.data, max_predictions_per_seq=predictions),
        train=dataclasses.replace(config.train, train_batch_size=batch, eval_batch_size=batch),
    )


def random_batch(spec: BatchSpec, model: ModelConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Fields of a batch without padding: random tokens, distinct positions in order, weights of 1."""
    rng = np.random.default_rng(seed)
    below = {"type_ids": 2, "next_sentence_labels": 2}
    batch = {}
    for name, field in spec.items():
        if field.dtype == np.float32:
            batch[name] = np.ones(field.shape, np.float32)
        elif name == "masked_lm_positions":
            order = rng.permuted(np.tile(np.arange(model.max_seq_length), (field.shape[0], 1)), axis=1)
            batch[name] = np.sort(order[:, : field.shape[1]], axis=1).astype(field.dtype)
        else:
            low, high = (0, below[name]) if name in below else (NUM_SPECIAL_IDS, model.vocab_size)
            batch[name] = rng.integers(low, high, field.shape, field.dtype)
    return batch


def _step_case(base: Config, setting: CaseSetting, name: str) -> BenchCase:
    config = variant(base, setting, name)
    devices = 1 if name in bench_torch.MODELS else jax.device_count()
    return _case(setting, name, config, _make_step, config.data.max_predictions_per_seq, 1 / devices)


def _infer_case(base: Config, setting: CaseSetting, name: str) -> BenchCase:
    return _case(setting, name, variant(base, setting, name), _make_inference, 0, 1 / 3)  # forward alone


def _case(
    setting: CaseSetting,
    name: str,
    config: Config,
    make: Callable[[str, Config], TimedProgram],
    predictions: int,
    share: float,
) -> BenchCase:
    """A case that computes, on each device, a share of a training step with so many masked predictions."""
    model, batch = config.model, batch_of(setting)
    flops = share * batch * train_flops_per_example(model, predictions)
    floor = floor_seconds(flops, 0, model.dtype)
    made = functools.partial(make, name, config)
    return BenchCase(name, setting, made, batch * model.max_seq_length, flops, floor)


def _make_step(name: str, config: Config) -> TimedProgram:
    setup = set_up(config, devices=jax.devices(), facts=facts_without_data(config))
    batch = random_batch(setup.batch_structs(), config.model)
    if name in bench_torch.MODELS:
        return bench_torch.train_step(name, config.model, config.optim, batch, jax.devices()[0].platform)
    with jax.set_mesh(setup.mesh):
        state = create_state(setup.abstract, setup.objective, setup.optimizer, config.seed)
        on_device = jax.device_put(batch, batch_sharding(setup.mesh))
        step, seconds = compile_timed(setup.train_step(), setup.abstract, setup.batch_structs())

    def once() -> object:
        nonlocal state  # the old one is donated
        state, sums = step(state, on_device)
        return state, sums

    memory = peak_bytes(step, jax.default_backend())
    return TimedProgram(lambda calls: repeat(once, calls), memory=memory, compile_seconds=seconds)


def _make_inference(name: str, config: Config) -> TimedProgram:
    """On one device, parameters in float32 as they are saved."""
    check(config)
    shape = (config.train.eval_batch_size, config.model.max_seq_length)
    ints = jax.ShapeDtypeStruct(shape, np.dtype(np.int32))
    batch = random_batch({"input_ids": ints, "type_ids": ints}, config.model)
    if name in bench_torch.MODELS:
        return bench_torch.inference(name, config.model, batch, jax.devices()[0].platform)
    model = SequenceModel(config.model)
    ids_BL, types_BL = (jnp.asarray(batch[field]) for field in ("input_ids", "type_ids"))
    variables = jax.jit(functools.partial(model.init, deterministic=True))(
        jax.random.key(config.seed), ids_BL[:1], types_BL[:1]
    )
    if name in bench_onnx.MODELS:
        return bench_onnx.inference(config, variables, batch)
    return timed_program(
        jax.jit(functools.partial(model.apply, deterministic=True)), variables, ids_BL, types_BL
    )
