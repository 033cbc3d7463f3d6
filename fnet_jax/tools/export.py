"""Exports a model as a program that runs without this project; docs/export.md says how to call it.

python -m fnet_jax.tools.export --model=DIR --format=stablehlo --dst=DIR
python -m fnet_jax.tools.export --model=DIR --format=onnx --dst=DIR
"""

import os
import shutil
import time
from collections.abc import Sequence

from absl import flags

from fnet_jax.core import cli
from fnet_jax.core.errors import UserError

FORMATS = ["stablehlo", "onnx"]
PLATFORMS = ("cpu", "cuda", "tpu")

flags.DEFINE_string("model", None, "Workdir, portable folder or folder of Hugging Face's.")
flags.DEFINE_integer("step", None, "Step of a workdir's checkpoint; the best or the newest by default.")
flags.DEFINE_enum("format", None, FORMATS, "Of the program.")
flags.DEFINE_list("platforms", list(PLATFORMS), "That StableHLO is to run on.")
flags.DEFINE_string("dst", None, "Folder to be made.")


def main(_: Sequence[str]) -> None:
    """Exports, and says what is there."""
    flag = flags.FLAGS
    for name, what in (
        ("model", "a trained model"),
        ("format", "stablehlo or onnx"),
        ("dst", "a new folder"),
    ):
        if not flag[name].value:
            raise UserError(f"--{name} is not given; name {what}")
    unknown = [name for name in flag.platforms if name not in PLATFORMS]
    if unknown or not flag.platforms:
        raise UserError(f"--platforms={','.join(flag.platforms)}: valid are {', '.join(PLATFORMS)}")
    folder = os.path.abspath(os.path.expanduser(flag.dst))
    if os.path.exists(folder):
        raise UserError(f"--dst={flag.dst} exists already; name a new folder")

    from fnet_jax.bridge import export
    from fnet_jax.bridge.read import read

    started = time.monotonic()
    loaded = read(flag.model, flag.step)
    unfinished = folder + ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        os.makedirs(unfinished)
        export.write(loaded, unfinished, flag.format, flag.platforms)
        os.rename(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    for name in sorted(os.listdir(folder)):
        print(f"{os.path.join(folder, name)}: {os.path.getsize(os.path.join(folder, name)):,} bytes")
    print(f"exported in {time.monotonic() - started:.0f} s; docs/export.md says how to call it")


if __name__ == "__main__":
    cli.run(main)
