"""Exports a model as a program that runs without this project; docs/export.md says how to call it.

python -m fnet_jax.tools.export --model=DIR --format=stablehlo --dst=DIR
python -m fnet_jax.tools.export --model=DIR --format=onnx --dst=DIR
"""

import os
import time
from collections.abc import Sequence

from absl import flags

from fnet_jax.core.errors import UserError
from fnet_jax.core.files import new_folder
from fnet_jax.runtime import cli

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
    if not flag.platforms or not set(flag.platforms) <= set(PLATFORMS):
        raise UserError(f"--platforms={','.join(flag.platforms)}: valid are {', '.join(PLATFORMS)}")
    if flag["platforms"].present and flag.format != "stablehlo":
        raise UserError("--platforms has an effect with --format=stablehlo only; leave it out")
    folder = os.path.abspath(os.path.expanduser(flag.dst))

    # Imported late: a wrong flag is answered at once.
    from fnet_jax.bridge import export
    from fnet_jax.bridge.read import read

    started = time.monotonic()
    with new_folder(folder) as unfinished:
        export.write(read(flag.model, flag.step), unfinished, flag.format, flag.platforms)
    for name in sorted(os.listdir(folder)):
        print(f"{os.path.join(folder, name)}: {os.path.getsize(os.path.join(folder, name)):,} bytes")
    print(f"exported in {time.monotonic() - started:.0f} s; docs/export.md says how to call it")


if __name__ == "__main__":
    cli.run(main)
