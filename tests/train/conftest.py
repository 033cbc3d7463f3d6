import jax
import pytest

from tests.made_up import write_table


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
    """Optax multiplies float moments by integer counts, which strict promotion refuses."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="session")
def table_csv(tmp_path_factory) -> str:
    """Sentences that name animals or tools, and a number that says how many."""
    path = tmp_path_factory.mktemp("table") / "things.csv"
    write_table(path)
    return str(path)
