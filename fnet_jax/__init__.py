"""FNet on today's JAX: pretrain, fine-tune, evaluate and use Fourier-mixing encoders.

Read in this order: `nn.transforms`, `nn.mixers`, `nn.encoder`, `nn.heads`, `train.step`, `train.loop`.
To use a trained model: `fnet_jax.load(DIR)`, which is `inference.model.load`; docs/library.md.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fnet_jax.inference.model import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Brings `load` when it is asked for: who imports a part of the package need not import all of it."""
    if name == "load":
        from fnet_jax.inference.model import load

        return load
    raise AttributeError(f"module 'fnet_jax' has no attribute {name!r}")
