"""Models as programs that run without this project: StableHLO for XLA's devices, ONNX for everything else.

Both take any number of examples. The length is the model's own, to which texts are padded, since FNet mixes
padding with the rest. `MANIFEST` beside the program tells what goes in and what comes out.
"""

import dataclasses
import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import jax.export
import jax.extend.core

from fnet_jax.bridge import portable
from fnet_jax.bridge.inputs import input_spec
from fnet_jax.bridge.loaded import Loaded, flat, nested
from fnet_jax.bridge.tensor_files import SAFETENSORS
from fnet_jax.core.config import Head
from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import PAD_ID, SPECIAL_TOKENS
from fnet_jax.core.workdir import TOKENIZER_FILE
from fnet_jax.nn.encoder import layer_mixers
from fnet_jax.nn.heads import make_model

Format = Literal["stablehlo", "onnx"]
Platform = Literal["cpu", "cuda", "tpu"]

PLATFORMS: tuple[Platform, ...] = get_args(Platform)
PROGRAMS: dict[Format, str] = {"stablehlo": "model.stablehlo", "onnx": "model.onnx"}
MANIFEST = "export.json"

# Names of each head's outputs, in order.
OUTPUTS: dict[Head, tuple[str, ...]] = {
    "encoder": ("sequence", "pooled"),
    "pretrain": ("masked_lm_logits", "next_sentence_logits"),
    "masked_lm": ("logits",),
    "next_sentence": ("logits",),
    "sequence": ("logits",),
    "tokens": ("logits",),
    "choice": ("logits",),
    "span": ("start_logits", "end_logits"),
}


def write(loaded: Loaded, folder: str, form: Format, platforms: Sequence[Platform] = PLATFORMS) -> None:
    """Writes program, parameters, tokenizer and `MANIFEST` into a folder that exists and is empty.

    Raises:
        UserError: if what the format needs is not installed, or it cannot hold the model.
    """
    loaded = _exportable(loaded, form)
    path = os.path.join(folder, PROGRAMS[form])
    if form == "onnx":
        _write_onnx(loaded, path)
        loaded.copy_tokenizer(folder)
    else:
        portable.write(loaded, folder)
        with open(path, "wb") as file:
            file.write(stablehlo(loaded, platforms).serialize())
    with open(os.path.join(folder, MANIFEST), "w", encoding="utf-8") as file:
        json.dump(_manifest(loaded, form, platforms), file, indent=2)


def stablehlo(loaded: Loaded, platforms: Sequence[Platform] = PLATFORMS) -> jax.export.Exported:
    """A program f(variables, input_ids, type_ids, ...) -> {name: array}, in the dtype of the config.

    `variables` is what `model.safetensors` holds, {name: array}. They stay outside: so the program is small
    and quick to compile, fits other parameters of the same shapes, and they can lie on the devices for good.
    """
    program = jax.export.export(jax.jit(_forward(loaded)), platforms=list(platforms))
    return program(_abstract(loaded), *_inputs(loaded).values())


def _write_onnx(loaded: Loaded, path: str) -> None:
    """Writes an ONNX file, its parameters inside."""
    if "dct" in layer_mixers(loaded.config.model):  # it decides by platform, which jax2onnx does not know
        raise UserError("model.mixer='dct' has no way to ONNX; --format=stablehlo takes it")
    if importlib.util.find_spec("jax2onnx") is None:
        raise UserError("--format=onnx needs jax2onnx, which is not installed; docs/export.md says how")
    from jax2onnx import to_onnx

    inputs = _inputs(loaded)
    variables = flat(loaded.variables)
    forward = _forward(loaded)
    # Traced here: while jax2onnx traces, it replaces functions of JAX, which nn.scan does not bear.
    jaxpr = jax.make_jaxpr(lambda *args: tuple(forward(variables, *args).values()))(*inputs.values())
    proto = to_onnx(
        jax.extend.core.jaxpr_as_fun(jaxpr),
        list(inputs.values()),
        model_name="fnet_jax",
        input_names=list(inputs),
        output_names=list(OUTPUTS[loaded.head]),
    )
    with open(path, "wb") as file:
        file.write(proto.SerializeToString())


def _exportable(loaded: Loaded, form: Format) -> Loaded:
    """The model without what belongs to one platform; for ONNX in float32, and without FFT.

    ONNX has no FFT of two dimensions, and its runtimes have few operators in bfloat16.
    """
    model = loaded.config.model
    changes: dict[str, Any] = {"attention_impl": "xla"}
    if form == "onnx":
        changes |= {"fourier_impl": "dft", "dtype": "float32"}
    elif model.fourier_impl == "pallas":
        changes["fourier_impl"] = "auto"
    config = dataclasses.replace(loaded.config, model=dataclasses.replace(model, **changes))
    return dataclasses.replace(loaded, config=config)


def _forward(loaded: Loaded) -> Callable[..., dict[str, jax.Array]]:
    model = make_model(loaded.head, loaded.config.model)
    names = OUTPUTS[loaded.head]

    def forward(variables: Mapping[str, jax.Array], *inputs: jax.Array) -> dict[str, jax.Array]:
        outputs = model.apply(nested(dict(variables)), *inputs, deterministic=True)
        return dict(zip(names, jax.tree.leaves(outputs), strict=True))

    return forward


def _abstract(loaded: Loaded) -> dict[str, jax.ShapeDtypeStruct]:
    arrays = flat(loaded.variables)
    return {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in arrays.items()}


def _inputs(loaded: Loaded) -> Mapping[str, jax.ShapeDtypeStruct]:
    """With symbols for the sizes that are free."""
    batch, predictions, choices = jax.export.symbolic_shape("B, P, K")
    return input_spec(loaded.head, loaded.config.model.max_seq_length, batch, predictions, choices)


def _manifest(loaded: Loaded, form: Format, platforms: Sequence[Platform]) -> dict[str, Any]:
    """What a caller must know."""

    def describe(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "shape": [size if isinstance(size, int) else str(size) for size in field.shape],
                "dtype": field.dtype.name,
            }
            for name, field in fields.items()
        ]

    inputs = _inputs(loaded)
    outputs = jax.eval_shape(_forward(loaded), _abstract(loaded), *inputs.values())
    packages = ("jax", "flax", *(["jax2onnx"] if form == "onnx" else []))
    values: dict[str, Any] = {
        "format": form,
        "program": PROGRAMS[form],
        "head": loaded.head,
        "inputs": describe(inputs),
        "outputs": describe({name: outputs[name] for name in OUTPUTS[loaded.head]}),
        "labels": list(loaded.config.data.labels),
        "tokenizer": TOKENIZER_FILE if loaded.tokenizer_path else None,
        "special_pieces": {piece: i for i, piece in enumerate(SPECIAL_TOKENS)},
        "padding": f"pad input_ids with {PAD_ID} and type_ids with 0 to the full length",
        "made_with": {name: importlib.metadata.version(name) for name in packages},
    }
    if form == "stablehlo":
        values |= {"parameters": SAFETENSORS, "platforms": list(platforms)}
    return values
