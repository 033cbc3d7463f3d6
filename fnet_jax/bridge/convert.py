"""From one kind of model files to another: read, write beside the destination, verify, move there."""

import dataclasses
import itertools
import os
from typing import Any, Literal

import jax
import numpy as np
import optax
import safetensors

from fnet_jax.bridge import portable, verify, workdirs
from fnet_jax.bridge.google import checkpoint as google
from fnet_jax.bridge.huggingface import folder as huggingface
from fnet_jax.bridge.huggingface.names import ARCHITECTURES
from fnet_jax.bridge.loaded import Loaded
from fnet_jax.bridge.read import read
from fnet_jax.core.config import PRETRAINING, Head, Mixer
from fnet_jax.core.errors import MachineError, UserError, reason
from fnet_jax.core.files import new_folder
from fnet_jax.core.workdir import TOKENIZER_FILE
from fnet_jax.data.tokenizer import load_tokenizer
from fnet_jax.train.optim import make_optimizer

Source = Literal["huggingface", "google", "fnet_jax"]
Target = Literal["workdir", "huggingface", "fnet_jax", "google"]


@dataclasses.dataclass(frozen=True)
class Conversion:
    """One conversion.

    Attributes:
        source: kind of the files to read; fnet_jax are workdirs and portable folders.
        src: where they are.
        target: kind of the files to write.
        dst: a folder that does not exist, or is empty.
        step: of a workdir's checkpoint; None as for `find_checkpoint`.
        head: of a model of transformers whose config does not name its class.
        tokenizer: a SentencePiece model in place of the one beside the model; "": that one.
        mixer: of an original checkpoint that does not tell it.
        seed: of an original run with mixer "random".
        keep_optimizer: take Adam's moments and the step of an original checkpoint along, into a workdir.
        hf_mask_spacing: write a tokenizer.json that begins a new word behind [MASK].
    """

    source: Source
    src: str
    target: Target
    dst: str
    step: int | None = None
    head: Head | None = None
    tokenizer: str = ""
    mixer: Mixer | None = None
    seed: int = 0
    keep_optimizer: bool = False
    hf_mask_spacing: bool = False


def convert(request: Conversion, with_verify: bool = False) -> tuple[Loaded, list[str]]:
    """Converts; nothing is left at the destination if anything fails.

    Args:
        request: what to convert, and into what.
        with_verify: compare the logits of both sides before what was written gets its place.

    Returns:
        The model, as it was read, and what was verified.

    Raises:
        UserError: if the source is no such model, or the target cannot hold it.
        MachineError: if the logits differ, or writing fails.
    """
    dst = os.path.abspath(os.path.expanduser(request.dst))
    with new_folder(dst) as folder:
        loaded = _with_tokenizer(load(request), request.tokenizer)
        try:
            _write(request, loaded, folder, dst)
        except (OSError, safetensors.SafetensorError) as error:
            raise MachineError(
                f"{dst} could not be written ({reason(error)}); nothing is left there"
            ) from error
        said = _verify(request, loaded, folder) if with_verify else []
    return loaded, said


def next_steps(request: Conversion, loaded: Loaded) -> list[str]:
    """Commands and calls that use what was written."""
    dst = request.dst
    if request.target == "google":
        return [f"python -m fnet_jax.tools.convert --from=google --src={dst} --dst=W"]
    if request.target == "huggingface":
        model, tokenizer = ARCHITECTURES[loaded.head], "AutoTokenizer"
        return [f"transformers.{name}.from_pretrained({dst!r})" for name in (model, tokenizer)]
    steps = [f"fnet_jax.load({dst!r})"]
    if loaded.head in ("pretrain", "masked_lm"):
        text = '"The man worked as a [MASK]."'
        steps.append(f"python -m fnet_jax.tools.predict fill-mask --model={dst} {text}")
    if request.target == "workdir":
        config = "--config=configs/classify.py:data=my.csv"
        steps.append(f"python train.py {config} --config.init_from={dst} --workdir=W")
    return steps


def load(request: Conversion) -> Loaded:
    """Reads the source.

    Raises:
        UserError: if it is no such model.
    """
    if request.source == "huggingface":
        return huggingface.read(request.src, request.head)
    if request.source == "google":
        return google.read(request.src, request.mixer, request.seed)
    return read(request.src, request.step)


def _verify(request: Conversion, loaded: Loaded, folder: str) -> list[str]:
    """Sentences on how far both sides are apart; those of transformers are computed by it, if it is there.

    Raises:
        MachineError: if by more than `verify.TOLERANCE`.
    """
    kind: Source = "fnet_jax" if request.target == "workdir" else request.target
    written = load(dataclasses.replace(request, source=kind, src=folder, step=None))
    is_there = verify.can_run_theirs()

    def outputs(kind: str, path: str, model: Loaded) -> list[np.ndarray]:
        by_theirs = kind == "huggingface" and is_there
        outputs = (
            verify.theirs(path, model.head, inputs) if by_theirs else verify.ours(model, inputs)
            for inputs in verify.probes(loaded)
        )
        return list(itertools.chain.from_iterable(outputs))

    left, right = outputs(request.source, request.src, loaded), outputs(request.target, folder, written)
    difference = verify.largest_difference(left, right)
    how = "here"
    if "huggingface" in (request.source, request.target):
        how = "by transformers and here" if is_there else "here, for transformers is not installed"
    said = [f"verify: logits computed {how} differ by {difference:.1e} at most"]
    if not difference <= verify.TOLERANCE:
        raise MachineError(f"{said[0]}, more than {verify.TOLERANCE:g}; nothing was written")
    if verify.has_published_shape(loaded):
        difference = verify.published_difference(loaded)
        same = "these are its weights" if difference <= verify.TOLERANCE else "these are other weights"
        said.append(f"verify: published outputs of {verify.PUBLISHED_MODEL}: {difference:.1e} away, {same}")
    return said


def _with_tokenizer(loaded: Loaded, given: str) -> Loaded:
    """The model with the tokenizer that was given, if one was; it must have the model's vocabulary."""
    path = os.path.abspath(os.path.expanduser(given)) if given else loaded.tokenizer_path
    if path is None:
        return loaded
    size, vocab_size = load_tokenizer(path).vocab_size, loaded.config.model.vocab_size
    if size != vocab_size:
        raise UserError(f"the tokenizer {path} has {size} pieces, the model {vocab_size}; give its own")
    return dataclasses.replace(loaded, tokenizer_path=path)


def _write(request: Conversion, loaded: Loaded, folder: str, dst: str) -> None:
    if request.target == "workdir":
        optimizer = _optimizer(request, loaded) if request.keep_optimizer else ()
        workdirs.write(_with_own_tokenizer(loaded, dst), folder, *optimizer)
    elif request.target == "huggingface":
        huggingface.write(loaded, folder, request.hf_mask_spacing)
    elif request.target == "fnet_jax":
        portable.write(loaded, folder)
    else:
        google.write(loaded, os.path.join(folder, "checkpoint_0"))
        loaded.copy_tokenizer(folder, google.TOKENIZER)


def _optimizer(request: Conversion, loaded: Loaded) -> tuple[int, Any]:
    """The step and the optimizer's state of the original checkpoint, as a run of ours has it."""
    moments = google.read_moments(request.src, loaded)
    config = loaded.config
    optimizer = make_optimizer(config.optim, config.train.num_train_steps)
    fresh = jax.eval_shape(optimizer.init, loaded.variables["params"])
    count = np.asarray(moments.step, np.int32)
    return moments.step, optax.tree.set(fresh, count=count, mu=moments.mean, nu=moments.square)


def _with_own_tokenizer(loaded: Loaded, dst: str) -> Loaded:
    """A model to pretrain further: its data, once prepared, get its tokenizer and not a new one."""
    config = loaded.config
    if config.task not in PRETRAINING or loaded.tokenizer_path is None:
        return loaded
    data = dataclasses.replace(config.data, tokenizer=os.path.join(dst, TOKENIZER_FILE))
    return dataclasses.replace(loaded, config=dataclasses.replace(config, data=data))
