"""Converts models: to and from Hugging Face's transformers, from the original FNet, to safetensors.

    python -m fnet_jax.tools.convert --from=huggingface --src=DIR --dst=W
    python -m fnet_jax.tools.convert --from=google --src=f_net_checkpoint --dst=W --verify
    python -m fnet_jax.tools.convert --from=fnet_jax --src=W --dst=DIR --to=huggingface

See docs/convert.md.
"""

import os
import time
from collections.abc import Sequence
from typing import Any, get_args

from absl import flags

from fnet_jax.core.config import Head, Mixer
from fnet_jax.core.errors import UserError
from fnet_jax.runtime import cli

SOURCES = ("huggingface", "google", "fnet_jax")
TARGETS = ("workdir", "huggingface", "fnet_jax", "google")
_OPTIONS = ("step", "head", "tokenizer", "mixer", "seed", "keep_optimizer", "hf_mask_spacing")

flags.DEFINE_enum("from", None, SOURCES, "Kind of --src.")
flags.DEFINE_string("src", None, "Folder of the model, or its file.")
flags.DEFINE_string("dst", None, "Folder to make.")
flags.DEFINE_enum("to", None, TARGETS, "Kind of --dst; workdir by default, huggingface for a model of ours.")
flags.DEFINE_bool("verify", False, "Compare the logits of both sides before --dst is made.")
flags.DEFINE_string("tokenizer", "", "SentencePiece .model, if none lies beside the model.")
flags.DEFINE_integer("step", None, "Step of a workdir's checkpoint; the best or newest by default.")
flags.DEFINE_enum("head", None, get_args(Head), "Of a model of transformers that names no class.")
flags.DEFINE_enum("mixer", None, get_args(Mixer), "Of an original checkpoint whose name does not tell it.")
flags.DEFINE_integer("seed", 0, "Of an original run with random matrices, which are made again.")
flags.DEFINE_bool("keep_optimizer", False, "Take the original's step and moments along, to go on training.")
flags.DEFINE_bool("hf_mask_spacing", False, "Begin a new word behind [MASK], as transformers' FNetTokenizer.")


def main(_: Sequence[str]) -> None:
    """Converts and says what was written and what comes next."""
    flag = flags.FLAGS
    for name in ("from", "src", "dst"):
        if not flag[name].value:
            raise UserError(f"--{name} is not given; docs/convert.md has examples")
    src, dst = (os.path.abspath(os.path.expanduser(path)) for path in (flag.src, flag.dst))
    source = getattr(flag, "from")
    target: Any = flag.to or ("huggingface" if source == "fnet_jax" else "workdir")
    _check_alive(source, target)
    if not os.path.exists(src):
        raise UserError(f"--src={src} does not exist")

    # Imported late: a wrong flag is answered at once.
    from fnet_jax.bridge import convert
    from fnet_jax.nn.heads import param_count

    started = time.monotonic()
    options: dict[str, Any] = {name: flag[name].value for name in _OPTIONS}
    request = convert.Conversion(source, src, target, dst, **options)
    loaded, verified = convert.convert(request, flag.verify)
    for line in verified:
        print(line)
    seconds = time.monotonic() - started
    print(f"{dst}: {loaded.head}, {param_count(loaded.variables):,} parameters, in {seconds:.0f} s")
    if loaded.tokenizer_path is None:
        print("note: there is no SentencePiece model beside --src; --tokenizer=FILE adds one")
    print("Next:", *convert.next_steps(request, loaded), sep="\n    ")


def _check_alive(source: str, target: str) -> None:
    """Refuses flags that have no effect."""
    for name, has_effect, why in (
        ("step", source == "fnet_jax", "--from=fnet_jax"),
        ("head", source == "huggingface", "--from=huggingface"),
        ("mixer", source == "google", "--from=google"),
        ("seed", source == "google", "--from=google"),
        ("keep_optimizer", (source, target) == ("google", "workdir"), "--from=google --to=workdir"),
        ("hf_mask_spacing", target == "huggingface", "--to=huggingface"),
    ):
        if flags.FLAGS[name].present and not has_effect:
            raise UserError(f"--{name} has an effect with {why} only; leave it out")


if __name__ == "__main__":
    cli.run(main)
