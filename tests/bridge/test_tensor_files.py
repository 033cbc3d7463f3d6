"""Files of tensors, in a folder of transformers: several parts, other dtypes, hostile ones, pickles."""

import json
import pathlib
import pickle
import re
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fnet_jax.bridge.huggingface import folder as huggingface
from fnet_jax.bridge.loaded import flat
from fnet_jax.bridge.read import read
from fnet_jax.core.errors import UserError
from tests.bridge.huggingface.test_huggingface import WEIGHTS, assert_same_variables, with_tensors
from tests.bridge.made import made


def test_half_precision_becomes_float32(folder):
    def halve(tensors):
        for name, array in tensors.items():
            tensors[name] = array.astype(jnp.bfloat16)

    with_tensors(folder, halve)
    expected, found = made("pretrain"), read(str(folder))
    for path, array in flat(found.variables).items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, flat(expected.variables)[path], rtol=2**-8)


def test_several_files_with_an_index(folder):
    split(folder)
    assert_same_variables(made("pretrain"), read(str(folder)))


def split(folder: pathlib.Path, **changes):
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    parts: dict[str, dict] = {"model-1.safetensors": {}, "model-2.safetensors": {}}
    for number, name in enumerate(tensors):
        parts[f"model-{1 + number % 2}.safetensors"][name] = tensors[name]
    for name, part in parts.items():
        save_file(part, folder / name)
    index = {name: file for file, part in parts.items() for name in part} | changes
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def header(values) -> bytes:
    text = json.dumps(values).encode()
    return struct.pack("<Q", len(text)) + text


HOSTILE = {
    "empty": b"",
    "not a header": b"\xff" * 64,
    "header without end": struct.pack("<Q", 1 << 62) + b"{}",
    "no JSON": struct.pack("<Q", 4) + b"{{{{",
    "beyond the file": header({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}),
    "overflow": header({"a": {"dtype": "F32", "shape": [1 << 62, 16], "data_offsets": [0, 8]}}) + b"\0" * 8,
    "negative": header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}) + b"\0" * 4,
    "overlapping": header(
        {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in ("a", "b")}
    )
    + b"\0" * 4,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_safetensors(folder, name):
    (folder / WEIGHTS).write_bytes(HOSTILE[name])
    with pytest.raises(UserError, match="no whole safetensors file"):
        read(str(folder))


def test_a_file_that_is_cut_off(folder):
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:-1])
    with pytest.raises(UserError, match="no whole safetensors file"):
        read(str(folder))


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "a/model.safetensors", "..", "model.bin", "x\\..\\y.bin"]
)
def test_an_index_names_nothing_outside_its_folder(folder, name):
    split(folder, **{"fnet.pooler.dense.bias": name})
    (folder.parent / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="no safetensors beside it"):
        read(str(folder))


def test_an_index_that_lacks_or_promises_something(folder):
    split(folder, **{"fnet.more": "model-1.safetensors"})
    with pytest.raises(UserError, match=re.escape("lack fnet.more")):
        read(str(folder))
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(UserError, match=r"model-2\.safetensors is no file"):
        read(str(folder))


class Bomb:
    """Would make a file if it were unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_is_never_opened_unasked(folder, tmp_path):
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "gone_off")))
    with pytest.raises(UserError, match="a pickle, which is not opened unasked"):
        read(str(folder))
    with pytest.raises(UserError, match=r"needs `pip install torch`|as tensors alone"):
        huggingface.read(str(folder / "pytorch_model.bin"))
    assert not (tmp_path / "gone_off").exists()
