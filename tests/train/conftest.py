import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
    """Optax multiplies float moments by integer counts, which strict promotion refuses."""
    with jax.numpy_dtype_promotion("standard"):
        yield
