"""Hostile and damaged files: one sentence each, and no memory for what is only claimed."""

import struct
import tracemalloc

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnet_jax.bridge.google import msgpack_file
from fnet_jax.bridge.name_tables import FileTensor
from fnet_jax.core.errors import UserError
from tests.bridge.google import original_checkpoint


def array(shape=b"\x91\x02", dtype=b"\xa7float32", data=b"\xc4\x08" + bytes(8), code=1, size=None):
    """An array as an extension; the parts are msgpack items."""
    content = b"\x93" + shape + dtype + data
    return b"\xc9" + struct.pack(">Ib", len(content) if size is None else size, code) + content


def tree(*items):
    """A map a, b, ... of items."""
    return bytes([0x80 + len(items)]) + b"".join(b"\xa1" + bytes([97 + i]) + x for i, x in enumerate(items))


def index(folder, content):
    path = folder / "file"
    path.write_bytes(content)
    return msgpack_file.index(str(path))


HUGE = b"\xff\xff\xff\xff"
PIECES = {
    "__msgpack_chunked_array__": True,
    "shape": {"0": 4},
    "chunks": {"0": np.zeros(2), "1": np.zeros(2)},
}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "at byte 0 of 0 it should go on for 1 bytes, but is cut off"),
        (b"PK\x03\x04", "hold no tree"),
        (b"\xc1", "byte 0xc1, which msgpack does not know"),
        (tree(b"\x01") + b"rest", "goes on for 4 bytes after its end"),
        (tree(b"\x01", b"\x02")[:-1], "cut off"),
        (tree(array())[:-1], "should go on for .* but is cut off"),
        (b"\xdf" + HUGE, "should go on for 4,294,967,295 bytes"),
        (b"\xdf" + HUGE[:2] + b"\xa1a\x01", "cut off"),
        (tree(b"\xdb" + HUGE), "is cut off"),
        (tree(b"\xc9" + HUGE + b"\x01"), "should go on for 4,294,967,295 bytes"),
        (tree(b"\x91" * 2000 + b"\x01"), "nested more than 32 deep"),
        (b"\xdd\x00\x0f\x42\x40" + b"\x01" * 1_000_000, "more than 200,000 entries"),
        (b"\x81\x01\x02", "entry without a usable name"),
        (b"\x81\xa3../\x02", "entry without a usable name"),
        (b"\x81\xa1\xff\x02", "no UTF-8"),
        (b"\x82\xa1a\x01\xa1a\x01", "has 'a' twice"),
        (tree(b"\xc4\x02ab"), "raw bytes outside any array"),
        (tree(array(code=5)), "extension of type 5; Flax writes 1, 2 and 3"),
        (tree(array(dtype=b"\xa6object")), "dtype 'object'; valid: float16"),
        (tree(array(dtype=b"\xa5i4,O8")), "dtype 'i4,O8'"),
        (tree(array(shape=b"\x91\x03")), r"shape \[3\], dtype float32, without its 12 bytes"),
        (tree(array(shape=b"\x91\xcf" + HUGE * 2)), "without its"),
        (tree(array(shape=b"\x91\xff")), "size that is no number"),
        (tree(array(shape=b"\x91\xc2")), "size that is no number"),
        (tree(array(shape=b"\x9f")), "no list of up to 8 sizes"),
        (tree(array(shape=b"\x05")), "no list of up to 8 sizes"),
        (tree(array(data=b"\xc6" + HUGE)), "without its 8 bytes"),
        (tree(array(size=9)), "does not fill its place"),
        (tree(b"\xd4\x01\x05"), "without shape, dtype and bytes"),
    ],
)
def test_damaged_files(tmp_path, content, message):
    with pytest.raises(UserError, match=message) as error:
        index(tmp_path, content)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    "change",
    [
        {"shape": {"0": 5}},
        {"shape": {"1": 4}},
        {"shape": {"0": "4"}},
        {"chunks": {"0": np.zeros(2)}},
        {"chunks": {"0": np.zeros((2, 1)), "1": np.zeros(2)}},
        {"chunks": {"0": np.zeros(2), "1": np.zeros(2, np.float32)}},
        {"chunks": 3},
    ],
)
def test_pieces_that_make_no_array(tmp_path, change):
    original_checkpoint.write(tmp_path / "file", {"a": {**PIECES, **change}})
    with pytest.raises(UserError, match="has an array in pieces"):
        msgpack_file.index(str(tmp_path / "file"))


def test_all_that_flax_writes(tmp_path):
    """Also what no checkpoint of FNet has: complex numbers, nothing, empty arrays, lists."""
    content = tree(
        b"\xd7\x02" + bytes(8), b"\xc0", array(b"\x92\x00\x05", data=b"\xc4\x00"), b"\x91\xa1x", b"\xff"
    )
    read = index(tmp_path, content)
    empty = read.pop("c")
    assert read == {"a": None, "b": None, "d": {"0": "x"}, "e": -1}
    assert empty.read().shape == (0, 5)


def test_nothing_is_read_before_it_is_wanted(tmp_path):
    """A file of 1 GB, nearly all of it a hole, costs no memory until one of its arrays is read."""
    sizes = {"a": 2**20, "b": 2**27}
    with open(tmp_path / "file", "wb") as file:
        file.write(b"\x82")
        for name, size in sizes.items():
            count, bytes_ = struct.pack(">BI", 0xCE, size), struct.pack(">BI", 0xC6, 4 * size)
            head = b"\x93\x91" + count + b"\xa7float32" + bytes_
            file.write(b"\xa1" + name.encode() + b"\xc9" + struct.pack(">Ib", len(head) + 4 * size, 1) + head)
            file.seek(4 * size, 1)
        file.truncate()
    tracemalloc.start()
    try:
        read = msgpack_file.index(str(tmp_path / "file"))
        assert tracemalloc.get_traced_memory()[1] < 2**18
        assert read["a"].read().shape == (2**20,)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()
    assert read["b"].shape == (2**27,)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "file"
    params = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.ones(3, np.int32)}
    original_checkpoint.write(path, {"target": params, "state": {"step": np.int32(3)}, "pieces": PIECES})
    return path


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_any_damage_is_one_sentence(sound, data):
    content = bytearray(sound.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    damaged = sound.with_name("damaged")
    damaged.write_bytes(content)
    try:
        for leaf in jax.tree.leaves(msgpack_file.index(str(damaged))):
            if isinstance(leaf, FileTensor):
                leaf.read()
    except UserError as error:
        assert str(error).startswith(f"{damaged} is no sound Flax checkpoint")
