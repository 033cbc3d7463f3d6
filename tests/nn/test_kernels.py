"""The TPU kernel: interpreted against float64, and compiled by libtpu for TPUs that are not there."""

import importlib.util
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnet_jax.nn.kernels import fourier_tpu
from tests.conftest import REPOSITORY
from tests.nn import reference

kernel = jax.jit(lambda x: fourier_tpu.fourier(x, interpret=True))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((3, 48, 256), "float32"),
        ((2, 80, 512), "bfloat16"),
        ((1, 512, 768), "float32"),
        ((1, 512, 768), "bfloat16"),
        ((2, 1088, 256), "float32"),  # above 1,024: the kernel for long sequences, L1 = 8, L2 = 136
        ((1, 1536, 512), "bfloat16"),
    ],
    ids=str,
)
def test_matches_float64(shape, dtype):
    """1e-5 at worst in float32, 1e-2 RMS in bfloat16, of the RMS of y."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)
    y = kernel(x)
    assert (y.shape, y.dtype) == (shape, dtype)
    rms, worst = reference.relative_errors(y, reference.fourier(np.asarray(x, np.float64)))
    assert rms < 1e-2 and (worst < 1e-5 or dtype == "bfloat16")


@pytest.mark.parametrize("length", [32, 1088])
def test_impulses_come_out_right(length):
    """At corners, edges and Nyquist terms and beside them: an error there is not lost among other numbers."""
    width = 256
    rows = (0, 1, length // 2, length - 1)
    places = [(j, k) for j in rows for k in (0, 127, 128, 129)]
    x = np.zeros((len(places), length, width), np.float32)
    for i, (j, k) in enumerate(places):
        x[i, j, k] = 1
    np.testing.assert_allclose(kernel(x), reference.fourier(x.astype(np.float64)), atol=2e-6)


@pytest.mark.parametrize(
    ("length", "width", "word"),
    [
        (40, 256, "length 40"),
        (16, 256, "length 16"),
        (1040, 256, "length 1040"),
        (8256, 256, "length 8256"),
        (8192, 1024, "length 8192 times width 1024"),
        (64, 384, "width 384"),
        (64, 128, "128"),
    ],
)
def test_says_what_it_cannot_serve(length, width, word):
    reason = fourier_tpu.why_unsupported(length, width)
    assert word in reason
    with pytest.raises(ValueError, match=word):
        fourier_tpu.fourier(jnp.zeros((1, length, width)), interpret=True)


def test_refuses_other_dtypes():
    with pytest.raises(ValueError, match="float16"):
        fourier_tpu.fourier(jnp.zeros((1, 32, 256), jnp.float16), interpret=True)


def test_cost_is_within_the_limits():
    """FLOPs by hand; at most a sixth of the dense form's; one read and one write and the matrices."""
    batch, length, width = 16, 512, 768
    cost = fourier_tpu.cost(batch, length, width, jnp.bfloat16)
    even = 272 * 384 * 512 + 272 * 256 * 512
    odd = 256 * 384 * 384 + 256 * 256 * 384
    assert cost.flops == batch * 2 * (even + odd)
    assert cost.flops < batch * 4 * (length * width**2 + length**2 * width) / 6
    once = 2 * batch * length * width * 2
    assert once < cost.bytes_accessed < 1.1 * once < 60e6


def test_cost_of_long_sequences():
    """4,096 = 64·64: a product along D, then 64 + 64 small ones for each of 3 + 1 blocks of columns."""
    cost = fourier_tpu.cost(2, 4096, 768, jnp.bfloat16)
    along_width = 4096 * 384 * (512 + 384)
    along_length = 64 * 128 * 128 * 128 + 64 * 64 * 128 * 128
    assert cost.flops == 2 * 2 * (along_width + 4 * along_length)
    once = 2 * 2 * 4096 * 768 * 2
    assert once < cost.bytes_accessed < 1.2 * once


COMPILE = """
import json, os, sys
from fnet_jax.tools.aot.env import ENVIRONMENT
os.environ.update(ENVIRONMENT)
import jax
from jax.experimental import topologies
from fnet_jax.nn.kernels import fourier_tpu
for topology, *shape, dtype in json.loads(sys.argv[1]):
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    x = jax.ShapeDtypeStruct(shape, dtype, sharding=jax.sharding.SingleDeviceSharding(devices[0]))
    compiled = jax.jit(fourier_tpu.fourier).lower(x).compile()
    counts = compiled.cost_analysis()
    calls = compiled.as_text().count("tpu_custom_call")
    print(json.dumps([calls, counts["flops"], counts["bytes accessed"]]))
"""


@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="libtpu is for Linux x86-64")
def test_compiles_for_tpus():
    """In a process of its own, for libtpu's platform. XLA counts what `cost` tells it, and the matrices."""
    topologies = ("v5e:2x2", "v6e:2x4", "tpu7x:2x2x1")
    cases = [(topology, 16, 512, 768, "bfloat16") for topology in topologies]
    cases += [("v5e:2x2", 2, 48, 256, "float32")]
    cases += [("v5e:2x2", 2, 4096, 768, "bfloat16"), ("v5e:2x2", 1, 8192, 768, "bfloat16")]
    args = [sys.executable, "-c", COMPILE, json.dumps(cases)]
    result = subprocess.run(args, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    for line, (_, *shape, dtype) in zip(result.stdout.splitlines(), cases, strict=True):
        calls, flops, moved = json.loads(line)
        cost = fourier_tpu.cost(*shape, dtype)
        assert calls == 1
        assert 1 <= flops / cost.flops < 1.05
        assert 1 <= moved / cost.bytes_accessed < 1.5 or shape == [2, 48, 256]
