"""What transformers computes for the models of `made.py`; python -m tests.bridge.goldens makes it anew."""

import json
import pathlib
import tempfile
import typing

import numpy as np

from fnet_jax.bridge import verify
from fnet_jax.bridge.huggingface import folder as huggingface
from fnet_jax.core.config import Head
from tests.bridge.made import TINY, made

PATH = pathlib.Path(__file__).with_suffix(".json")
LENGTHS = (6, TINY["max_seq_length"])


def cut(outputs: list[np.ndarray]) -> list[list]:
    """A corner of each output, small enough to be kept."""
    return [np.round(output[:, :3, :5] if output.ndim == 3 else output, 6).tolist() for output in outputs]


def make() -> dict[str, list[list]]:
    """Runs transformers."""
    found = {}
    for head in typing.get_args(Head):
        loaded = made(head)
        with tempfile.TemporaryDirectory() as folder:
            huggingface.write(loaded, folder)
            for length in LENGTHS:
                outputs = verify.theirs(folder, head, verify.probe(loaded, length))
                found[f"{head} {length}"] = cut(outputs)
    return found


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in make().items()]
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n")
