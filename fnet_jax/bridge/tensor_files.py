"""Files of tensors: safetensors in one file or several, and PyTorch's pickles by the user's explicit word."""

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save_file

from fnet_jax.bridge.name_tables import FileTensor
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import read_json

SAFETENSORS = "model.safetensors"
INDEX = SAFETENSORS + ".index.json"
PICKLE = "pytorch_model.bin"

_FLOATS = ("F16", "BF16", "F32", "F64")


def open_tensors(path: str) -> tuple[str, dict[str, FileTensor]]:
    """Opens what a folder or a file holds; nothing is read but headers.

    Args:
        path: a folder with `model.safetensors`, whole or in parts with an index; or a file, of safetensors or
            of PyTorch. A pickle is never taken unless the file itself is named.

    Returns:
        The file, and its tensors by name.

    Raises:
        UserError: if there is no such file, or it is damaged.
    """
    if os.path.isdir(path):
        names = [name for name in (SAFETENSORS, INDEX) if os.path.exists(os.path.join(path, name))]
        if not names and os.path.exists(os.path.join(path, PICKLE)):
            raise UserError(
                f"{path} holds its parameters as {PICKLE}, a pickle, which is not opened unasked; "
                f"name the file itself, {os.path.join(path, PICKLE)}, if you trust it"
            )
        if not names:
            raise UserError(f"{path} holds neither {SAFETENSORS} nor {INDEX}")
        path = os.path.join(path, names[0])
    if not os.path.isfile(path):
        raise UserError(f"{path} is no file of tensors; name a folder with {SAFETENSORS}")
    if path.endswith(".index.json"):
        return path, _parts(path)
    return path, _pickle(path) if path.endswith((".bin", ".pt", ".pth")) else _safetensors(path)


def save_tensors(tensors: Mapping[str, np.ndarray], path: str, metadata: Mapping[str, str]) -> None:
    """Writes one safetensors file. The arrays must be contiguous: the library looks at their memory."""
    assert all(array.flags.c_contiguous for array in tensors.values())
    save_file(dict(tensors), path, dict(metadata))


def require_floats(source: str, tensors: Mapping[str, FileTensor]) -> None:
    """Refuses tensors of anything but floating-point numbers.

    Raises:
        UserError: naming all of them.
    """
    odd = [f"{name} ({part.dtype})" for name, part in tensors.items() if part.dtype not in _FLOATS]
    if odd:
        raise UserError(f"{source} holds tensors that are no floating-point numbers: {', '.join(odd)}")


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{path} is no whole safetensors file ({error})") from error


def _safetensors(path: str) -> dict[str, FileTensor]:
    """The library checks that the header is sound, and that what it declares lies in the file."""
    with _explained(path):
        file = safetensors.safe_open(path, framework="np")
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  no dict

    def reader(name: str) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            with _explained(path):
                return file.get_tensor(name)

        return read

    return {
        name: FileTensor(tuple(part.get_shape()), part.get_dtype(), reader(name))
        for name, part in slices.items()
    }


def _parts(index: str) -> dict[str, FileTensor]:
    """The tensors of the files that an index names; they must lie beside it."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(part, str) for part in names.values()):
        raise UserError(f"{index} has no weight_map from tensors to files")
    files = sorted(set(names.values()))
    outside = [name for name in files if not name.endswith(".safetensors") or name != os.path.basename(name)]
    if outside:
        raise UserError(f"{index} names files that are no safetensors beside it: {', '.join(outside)}")
    found: dict[str, FileTensor] = {}
    for name in files:
        found |= open_tensors(os.path.join(os.path.dirname(index), name))[1]
    missing = sorted(names.keys() - found.keys())
    if missing:
        raise UserError(f"the files that {index} names lack {', '.join(missing)}")
    return found


def _pickle(path: str) -> dict[str, FileTensor]:
    """Through PyTorch's restricted unpickler, which makes tensors and nothing else."""
    if importlib.util.find_spec("torch") is None:
        raise UserError(
            f"{path} is in PyTorch's format and needs `pip install torch`; transformers can write safetensors"
        )
    torch = importlib.import_module("torch")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise UserError(f"{path} cannot be read as tensors alone ({_first_line(error)})") from error
    if not isinstance(state, dict) or not all(isinstance(part, torch.Tensor) for part in state.values()):
        raise UserError(f"{path} holds more than named tensors")

    def reader(tensor: Any) -> Callable[[], np.ndarray]:
        return lambda: tensor.detach().to(torch.float32).numpy()

    return {
        str(name): FileTensor(
            tuple(part.shape), "F32" if part.is_floating_point() else str(part.dtype), reader(part)
        )
        for name, part in state.items()
    }


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
