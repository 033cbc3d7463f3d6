"""The models of the tests against this project's, and their checkpoint files against Flax's reader."""

import flax.serialization
import jax
import numpy as np

from tests.bridge import numpy_fnet
from tests.bridge.google import original_checkpoint


def test_flax_reads_what_the_tests_write(tmp_path):
    params = numpy_fnet.make_params("bert")
    tree = original_checkpoint.optimizer_tree(params, moments=lambda x: (x + 1, x * x))
    for chunk in (2**30, 100):
        original_checkpoint.write(tmp_path / "checkpoint", tree, chunk)
        read = flax.serialization.msgpack_restore((tmp_path / "checkpoint").read_bytes())
        jax.tree.map(np.testing.assert_array_equal, read, tree)
