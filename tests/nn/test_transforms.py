"""The transforms against float64 NumPy and SciPy: values, gradients, dtypes, sharding, compiled form."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import scipy.linalg

from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import batch_sharding, create_mesh
from fnet_jax.nn import dft, matrices, transforms
from tests.hlo import collective_kinds
from tests.nn import reference

IMPLS = ("fft", "dft", "folded", "split")
TRANSFORMS = {
    **{f"fourier-{i}": (functools.partial(transforms.fourier, impl=i), reference.fourier) for i in IMPLS},
    **{f"hartley-{i}": (functools.partial(transforms.hartley, impl=i), reference.hartley) for i in IMPLS},
    "dct": (transforms.dct, reference.dct),  # folded, on a CPU
    "dct-dense": (lambda x: dft.dct_dense(dft.dct_dense(x, 2), 1), reference.dct),
    "hadamard": (transforms.hadamard, reference.hadamard),
}
TRANSFORMS = {name: (jax.jit(fn), expected) for name, (fn, expected) in TRANSFORMS.items()}
SYMMETRIC = [name for name in TRANSFORMS if not name.startswith("dct")]
PRODUCTS = [name for name in TRANSFORMS if not name.endswith("-fft")]
SHAPES = [(2, 16, 12), (3, 5, 7), (1, 1, 1), (2, 9, 40), (2, 2, 3)]

each_transform = pytest.mark.parametrize("name", TRANSFORMS)


def gaussian(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@each_transform
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_value_and_gradient_match_float64(name, shape):
    fn, expected = TRANSFORMS[name]
    x, g = gaussian(shape), gaussian(shape, seed=1)
    y, vjp = jax.vjp(fn, x)
    assert y.dtype == jnp.float32
    np.testing.assert_array_less(reference.relative_errors(y, expected(x.astype(np.float64)))[1], 2e-6)
    adjoint = reference.adjoint(expected, g.astype(np.float64))
    np.testing.assert_array_less(reference.relative_errors(vjp(g)[0], adjoint)[1], 2e-6)


EXACT = {  # name -> the transform and its adjoint, quick enough for large shapes
    "fourier": (lambda x: np.fft.fft2(x).real,) * 2,
    "hartley": (lambda x: np.fft.fft2(x).real - np.fft.fft2(x).imag,) * 2,
    "dct": (reference.dct, functools.partial(scipy.fft.idctn, type=2, axes=(1, 2), norm="ortho")),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(1, 512, 768), (1, 509, 255)], ids=str)  # the second: prime, odd
@pytest.mark.parametrize("name", EXACT)
def test_sizes_of_real_models(name, shape, dtype):
    """All implementations, both passes: 1e-5 at worst in float32, 1e-2 RMS in bfloat16, of the RMS of y."""
    x, g = (jnp.asarray(gaussian(shape, seed), dtype) for seed in (0, 1))
    y, x_bar = (exact(np.asarray(a, np.float64)) for exact, a in zip(EXACT[name], (x, g), strict=True))
    for impl, (fn, _) in TRANSFORMS.items():
        if impl.startswith(name):
            actual_y, vjp = jax.vjp(fn, x)
            for actual, expected in ((actual_y, y), (vjp(g)[0], x_bar)):
                rms, worst = reference.relative_errors(actual, expected)
                assert rms < 1e-2 and (worst < 1e-5 or dtype == jnp.bfloat16), impl


@each_transform
def test_float64_is_exact_to_float64(name):
    fn, expected = TRANSFORMS[name]
    x = gaussian((2, 12, 10)).astype(np.float64)
    with jax.enable_x64(True):
        y = fn(jnp.asarray(x))
        assert y.dtype == jnp.float64
        assert reference.relative_errors(y, expected(x))[1] < 1e-13


@each_transform
def test_bfloat16(name):
    """bfloat16 keeps 8 bits: a rounding is 1.1e-3 RMS; there are one (fft) to about seven (dct)."""
    fn, expected = TRANSFORMS[name]
    x = jnp.asarray(gaussian((2, 48, 40)), jnp.bfloat16)
    y, vjp = jax.vjp(fn, x)
    assert y.dtype == jnp.bfloat16
    assert vjp(y)[0].dtype == jnp.bfloat16
    rms, _ = reference.relative_errors(y, expected(np.asarray(x, np.float64)))
    assert rms < (1.8e-3 if name.endswith("fft") else 4.5e-3)


@pytest.mark.parametrize("name", PRODUCTS)
def test_bfloat16_products_add_in_float32(name):
    """Read from the program: a CPU adds in float32 whatever is asked for, other devices need not."""
    x = jnp.ones((1, 16, 12), jnp.bfloat16)
    text = str(jax.make_jaxpr(TRANSFORMS[name][0])(x))
    products = re.findall(r":(\w+)\[[\d,]*\] = dot_general\[(.*?)\]\s+\w+ \w+", text, re.DOTALL)
    assert len(products) >= 2
    assert {dtype for dtype, _ in products} == {"f32"}
    assert all("preferred_element_type=float32" in params for _, params in products)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_backward_pass_saves_nothing(name):
    fn, _ = TRANSFORMS[name]
    _, vjp = jax.vjp(fn, gaussian((2, 8, 12)))
    assert not jax.tree.leaves(vjp)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_gradient_of_gradient(name):
    fn, expected = TRANSFORMS[name]
    x = gaussian((1, 4, 6))
    hessian_x = jax.grad(lambda x: jnp.sum(jax.grad(lambda x: jnp.sum(fn(x) ** 2) / 2)(x) * x) / 2)(x)
    twice = expected(expected(x.astype(np.float64)))
    assert reference.relative_errors(hessian_x, twice)[1] < 5e-6


@each_transform
def test_sharded_batch_needs_no_communication(name):
    fn, expected = TRANSFORMS[name]
    mesh = create_mesh()
    x = gaussian((16, 8, 12))
    with jax.set_mesh(mesh):
        x_BLD = jax.device_put(x, batch_sharding(mesh))
        eager = fn(x_BLD)
        compiled = jax.jit(jax.value_and_grad(lambda x: jnp.sum(fn(x) ** 2) / 2)).lower(x_BLD).compile()
        _, gradient = compiled(x_BLD)
    assert eager.sharding.is_equivalent_to(batch_sharding(mesh), 3)
    assert gradient.sharding.is_equivalent_to(batch_sharding(mesh), 3)
    assert reference.relative_errors(eager, expected(x.astype(np.float64)))[1] < 2e-6
    adjoint = reference.adjoint(expected, expected(x.astype(np.float64)))
    assert reference.relative_errors(gradient, adjoint)[1] < 2e-6
    assert collective_kinds(compiled.as_text()) == {"all-reduce"}  # of the sum, in this test


def test_kernel_on_many_devices():
    """The kernel itself is tested in test_kernels.py; here that it is its own gradient, device by device."""
    fn = functools.partial(transforms.fourier, impl="pallas")
    mesh = create_mesh()
    x = gaussian((8, 32, 256))
    exact = np.fft.fft2(np.fft.fft2(x.astype(np.float64)).real).real
    with jax.set_mesh(mesh):
        x_BLD = jax.device_put(x, batch_sharding(mesh))
        compiled = jax.jit(jax.value_and_grad(lambda x: jnp.sum(fn(x) ** 2) / 2)).lower(x_BLD).compile()
        _, gradient = compiled(x_BLD)
    assert reference.relative_errors(gradient, exact)[1] < 1e-5
    assert collective_kinds(compiled.as_text()) == {"all-reduce"}  # of the sum, in this test


def test_kernel_that_cannot_serve():
    with pytest.raises(UserError, match="'pallas' cannot serve this model: length 30 is not"):
        transforms.fourier(jnp.ones((1, 30, 256)), "pallas")
    with pytest.raises(UserError, match="'pallas' is not among the ways here: auto, fft, dft, folded, split"):
        transforms.hartley(jnp.ones((1, 32, 256)), "pallas")


@pytest.mark.skipif(jax.__version_info__ >= (0, 12), reason="JAX 0.12 divides an FFT by its batch by itself")
def test_plain_fft_would_communicate():
    """Why `shard_map_batch` is there."""
    mesh = create_mesh()
    with jax.set_mesh(mesh):
        x_BLD = jax.device_put(gaussian((16, 8, 12)), batch_sharding(mesh))
        text = jax.jit(lambda x: jnp.fft.fft2(x).real).lower(x_BLD).compile().as_text()
    assert "all-gather" in collective_kinds(text)


def test_collectives_are_seen():
    mesh = create_mesh()
    with jax.set_mesh(mesh):
        x_BLD = jax.device_put(gaussian((16, 8, 12)), batch_sharding(mesh))
        text = jax.jit(lambda x: x.sum(0)).lower(x_BLD).compile().as_text()
    assert collective_kinds(text) == {"all-reduce"}


def test_batch_that_does_not_divide_among_devices():
    x = gaussian((3, 8, 12))
    with jax.set_mesh(create_mesh()):
        y = jax.jit(transforms.fourier)(x)
    assert reference.relative_errors(y, reference.fourier(x.astype(np.float64)))[1] < 2e-6


@pytest.mark.parametrize("name", PRODUCTS)
def test_matrices_are_not_stored_in_the_program(name):
    fn, _ = TRANSFORMS[name]
    x = jax.ShapeDtypeStruct((1, 64, 96), jnp.float32)
    assert largest_constant(jax.jit(fn).lower(x).compile().as_text()) <= 12 * 12


def test_stored_matrix_would_be_found():
    matrix = gaussian((64, 64))
    text = jax.jit(lambda x: x @ matrix).lower(jnp.zeros((64, 64))).compile().as_text()
    assert largest_constant(text) == 64 * 64


@pytest.mark.parametrize("n", [1, 2, 4, 8, 128, 12, 24, 20, 72, 6, 10, 5, 7, 49, 96, 768])
def test_hadamard_matrix(n):
    """Against the reference, and the three properties promised for every size."""
    h = np.asarray(TRANSFORMS["hadamard"][0](jnp.eye(n)[:, None, :]))[:, 0]
    np.testing.assert_allclose(h, reference.hadamard_matrix(n), atol=2e-5)
    np.testing.assert_allclose(h, h.T, atol=2e-5)
    np.testing.assert_allclose(h @ h, n * np.eye(n), atol=2e-5 * n)
    if n in (1, 2, 4, 8, 128, 12, 24, 20, 72, 96, 768):
        assert set(np.unique(h)) <= {-1.0, 1.0}


def test_hadamard_of_a_power_of_two_is_sylvester():
    fn, _ = TRANSFORMS["hadamard"]
    np.testing.assert_array_equal(fn(jnp.eye(256)[:, :, None])[..., 0], scipy.linalg.hadamard(256))


@pytest.mark.parametrize("m", range(1, 64, 2))
def test_hadamard_factors_multiply_to_the_size(m):
    for n in (m, 2 * m, 4 * m, 64 * m, 256 * m):
        factors = jax.eval_shape(lambda n=n: matrices.hadamard_factors(n, jnp.dtype(jnp.float32)))
        assert np.prod([factor.shape[0] for factor in factors]) == n


@pytest.mark.parametrize("n", [matrices.MAX_EXACT_SIZE, matrices.MAX_EXACT_SIZE - 1])
def test_largest_exact_size(n):
    """cos(2πjk/n) for the largest j, where j·k is far beyond int32 (which a power of two would forgive)."""
    rows = 2
    compiled = jax.jit(lambda: matrices.cos_sin(n, jnp.dtype(jnp.float32))[0][-rows:]).lower().compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2**31, "computes all rows; do not run it"
    j, k = np.arange(n - rows, n, dtype=np.int64)[:, None], np.arange(n, dtype=np.int64)[None, :]
    np.testing.assert_allclose(compiled(), np.cos(2 * np.pi * (j * k % n) / n), atol=1e-6)


@pytest.mark.parametrize("fn", [functools.partial(transforms.fourier, impl="dft"), transforms.dct])
def test_beyond_the_largest_exact_size(fn):
    with pytest.raises(ValueError, match=r"65537 is too large.*65536"):
        jax.eval_shape(fn, jax.ShapeDtypeStruct((1, 65_537, 4), jnp.float32))


def test_unknown_impl():
    with pytest.raises(ValueError, match=r"'fftt' is not among the ways here: auto, fft, .*, pallas"):
        transforms.fourier(jnp.ones((1, 2, 2)), "fftt")


@pytest.mark.parametrize(
    ("backend", "length", "width", "impl"),
    [
        ("cpu", 512, 768, "fft"),
        ("gpu", 512, 768, "fft"),
        ("rocm", 512, 768, "fft"),
        ("tpu", 512, 768, "dft"),
        ("tpu", 1024, 768, "dft"),
        ("tpu", 1025, 768, "split"),
        ("tpu", 512, 65_537, "fft"),
        ("abacus", 512, 768, "fft"),
    ],
)
def test_choice_of_impl(backend, length, width, impl):
    assert transforms.choose_impl(backend, length, width) == impl


@pytest.mark.parametrize("fn", [transforms.fourier, transforms.hartley])
@pytest.mark.parametrize(("platform", "impl"), [("cpu", "fft"), ("tpu", "dft")])
def test_auto_follows_the_platform_that_is_compiled_for(fn, platform, impl):
    """Not the one that compiles: ahead of time, a CPU makes programs for a TPU."""

    def program(impl):
        backward = jax.jit(lambda x: jax.vjp(functools.partial(fn, impl=impl), x)[1](x))
        return backward.trace(jnp.ones((1, 16, 12))).lower(lowering_platforms=(platform,)).as_text()

    def operations(text):
        return sorted(re.findall(r"stablehlo\.(fft|dot_general)", text))

    assert operations(program("auto")) == operations(program(impl)) != []


def largest_constant(text):
    shapes = re.findall(r"= \w+\[([\d,]*)\]\S* constant\(", text)
    return max((int(np.prod([int(n) for n in shape.split(",") if n])) for shape in shapes), default=0)
