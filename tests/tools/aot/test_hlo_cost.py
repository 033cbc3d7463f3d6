"""FLOPs and bytes of compiled programs, against hand counts and, without loops, against XLA's own."""

import jax
import jax.numpy as jnp
import pytest

from fnet_jax.tools.aot.hlo import HloProgram
from fnet_jax.tools.aot.hlo_cost import flops, kernel_flops, moved_bytes


def compiled(fn, *shapes):
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.jit(fn).lower(*args).compile()


def test_matrix_products_in_a_loop():
    """XLA counts the body once, here it counts nine times."""

    def layers(x_BD, w_ND):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x_BD, w_ND)[0]

    program = compiled(layers, (8, 32), (9, 32, 32))
    assert flops(HloProgram(program.as_text())) == 9 * 2 * 8 * 32 * 32
    assert program.cost_analysis()["flops"] < 2 * 2 * 8 * 32 * 32


def test_products_with_batch_and_several_contracted_dimensions():
    text = compiled(lambda a, b: jnp.einsum("hblx,hmbx->hlm", a, b), (3, 4, 5, 6), (3, 7, 4, 6)).as_text()
    assert flops(HloProgram(text)) == 2 * 3 * 5 * 7 * (4 * 6)


@pytest.mark.parametrize(
    ("stride", "padding", "lhs_dilation", "rhs_dilation"),
    [
        ((1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1)),
        ((2, 3), ((2, 1), (0, 4)), (1, 1), (1, 1)),
        ((1, 2), ((3, 3), (1, 1)), (2, 1), (1, 2)),
    ],
)
def test_convolutions_against_xla(stride, padding, lhs_dilation, rhs_dilation):
    def convolve(x, w):
        return jax.lax.conv_general_dilated(
            x, w, stride, padding, lhs_dilation=lhs_dilation, rhs_dilation=rhs_dilation
        )

    program = compiled(convolve, (2, 3, 11, 13), (5, 3, 3, 2))
    assert flops(HloProgram(program.as_text())) == program.cost_analysis()["flops"]


@pytest.mark.parametrize(
    ("left", "right", "out", "window", "labels", "expected"),
    [
        # Rows [256, 512] times four matrices [512, 32]: the four are a window, of which padding leaves one.
        ("1,256,64,8", "4,32,64,8", "1,256,4,32", "size=4x8 pad=3_3x0_0 rhs_reversal=1x0",
         "0bf1_0oi1->1b0f", 2 * 256 * 4 * 32 * 512),
        # Four products [16, 8] by [8, 32]: of each output's window one position meets an input.
        ("4,16,8", "4,8,32", "4,16,32", "size=4 stride=3 lhs_dilate=4", "0bf_0io->0bf", 4 * 2 * 16 * 32 * 8),
    ],
)  # fmt: skip
def test_products_as_a_tpu_writes_them(left, right, out, window, labels, expected):
    text = f"""\
ENTRY %main (a: f32[{left}], b: f32[{right}]) -> f32[{out}] {{
  %a = f32[{left}] parameter(0)
  %b = f32[{right}] parameter(1)
  ROOT %c = f32[{out}] convolution(%a, %b), window={{{window}}}, dim_labels={labels}
}}
"""
    assert flops(HloProgram(text)) == expected


def test_ffts():
    text = compiled(lambda x: jnp.fft.rfft(x).real, (6, 16)).as_text()
    assert flops(HloProgram(text)) == pytest.approx(6 * 2.5 * 16 * 4)
    text = compiled(lambda x: jnp.fft.fft2(x).real, (6, 16, 8)).as_text()
    assert flops(HloProgram(text)) == pytest.approx(6 * 5 * 128 * 7)


def test_kernels_that_tell_their_work_and_kernels_that_do_not():
    line = (
        '%k{i} = f32[8]{{0}} custom-call(%x), custom_call_target="tpu_custom_call", backend_config={config}'
    )
    configs = ['{"custom_call_config":{"cost_estimate":{"flops":640,"bytes_accessed":9}}}', '{"flag":[]}']
    lines = "\n".join("  " + line.format(i=i, config=config) for i, config in enumerate(configs))
    text = f"ENTRY %main (x: f32[8]) -> f32[8] {{\n  %x = f32[8]{{0}} parameter(0)\n{lines}\n}}\n"
    assert kernel_flops(HloProgram(text)) == [640, None]
    assert flops(HloProgram(text)) == 640


@pytest.mark.parametrize(
    ("fn", "shapes"),
    [
        (lambda x: jnp.tanh(x) + 1, [(16, 24)]),
        (lambda x, w: x @ w, [(16, 24), (24, 40)]),
        (lambda x, i: jax.lax.dynamic_slice(x, (i[0].astype(jnp.int32), 0), (2, 24)), [(16, 24), (1,)]),
    ],
)
def test_moved_bytes_against_xla(fn, shapes):
    """Without loops and on-chip arrays both count the same, but for scalars."""
    program = compiled(fn, *shapes)
    assert moved_bytes(HloProgram(program.as_text())) == pytest.approx(
        program.cost_analysis()["bytes accessed"], abs=32
    )


LAYERS = """\
HloModule jit_f, is_scheduled=true

%layer (w.1: f32[3,8,8], i.1: s32[]) -> f32[8,8] {
  %w.1 = f32[3,8,8]{2,1,0} parameter(0)
  %i.1 = s32[] parameter(1)
  %zero.1 = s32[] constant(0)
  %slice = f32[1,8,8]{2,1,0} dynamic-slice(%w.1, %i.1, %zero.1, %zero.1), dynamic_slice_sizes={1,8,8}
  ROOT %w.2 = f32[8,8]{1,0:S(1)} bitcast(%slice)
}

%store (all.1: f32[3,4,8], x.1: f32[4,8], i.2: s32[]) -> f32[3,4,8] {
  %all.1 = f32[3,4,8]{2,1,0} parameter(0)
  %x.1 = f32[4,8]{1,0:S(1)} parameter(1)
  %i.2 = s32[] parameter(2)
  %zero.2 = s32[] constant(0)
  %x.2 = f32[1,4,8]{2,1,0} bitcast(%x.1)
  ROOT %put = f32[3,4,8]{2,1,0} dynamic-update-slice(%all.1, %x.2, %i.2, %zero.2, %zero.2)
}

%condition (carry.1: (s32[], f32[3,8,8], f32[4,8], f32[3,4,8])) -> pred[] {
  %carry.1 = (s32[], f32[3,8,8], f32[4,8], f32[3,4,8]) parameter(0)
  %i.3 = s32[]{:S(6)} get-tuple-element(%carry.1), index=0
  %three = s32[]{:S(6)} constant(3)
  ROOT %less = pred[]{:S(6)} compare(%i.3, %three), direction=LT
}

%body (carry.2: (s32[], f32[3,8,8], f32[4,8], f32[3,4,8])) -> (s32[], f32[3,8,8], f32[4,8], f32[3,4,8]) {
  %carry.2 = (s32[]{:S(6)}, f32[3,8,8], f32[4,8]{1,0:S(1)}, f32[3,4,8]) parameter(0)
  %i.4 = s32[]{:S(6)} get-tuple-element(%carry.2), index=0
  %w = f32[3,8,8]{2,1,0} get-tuple-element(%carry.2), index=1
  %x = f32[4,8]{1,0:S(1)} get-tuple-element(%carry.2), index=2
  %all = f32[3,4,8]{2,1,0} get-tuple-element(%carry.2), index=3
  %one_w = f32[8,8]{1,0:S(1)} fusion(%w, %i.4), kind=kLoop, calls=%layer
  %y = f32[4,8]{1,0:S(1)} dot(%x, %one_w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %stored = f32[3,4,8]{2,1,0} fusion(%all, %y, %i.4), kind=kLoop, calls=%store
  ROOT %next = (s32[], f32[3,8,8], f32[4,8], f32[3,4,8]) tuple(%i.4, %w, %y, %stored)
}

ENTRY %main (w.0: f32[3,8,8], x.0: f32[4,8]) -> f32[3,4,8] {
  %w.0 = f32[3,8,8]{2,1,0} parameter(0)
  %x.0 = f32[4,8]{1,0} parameter(1)
  %load = (f32[4,8]{1,0:S(1)}, f32[4,8]{1,0}, u32[]{:S(2)}) copy-start(%x.0)
  %loaded = f32[4,8]{1,0:S(1)} copy-done(%load)
  %first = ((f32[3,8,8]{2,1,0}), f32[1,8,8]{2,1,0:S(1)}, s32[]{:S(2)}) slice-start(%w.0), slice={[0:1], [0:8]}
  %got = f32[1,8,8]{2,1,0:S(1)} slice-done(%first)
  %zero = s32[]{:S(6)} constant(0)
  %empty = f32[3,4,8]{2,1,0} broadcast(%zero), dimensions={}
  %init = (s32[], f32[3,8,8], f32[4,8], f32[3,4,8]) tuple(%zero, %w.0, %loaded, %empty)
  %loop = (s32[], f32[3,8,8], f32[4,8], f32[3,4,8]) while(%init), condition=%condition, body=%body
  ROOT %result = f32[3,4,8]{2,1,0} get-tuple-element(%loop), index=3
}
"""


def test_layers_in_a_loop_by_hand():
    """Each run of the body reads a layer's weights and stores a layer's result; the rest is on the chip."""
    program = HloProgram(LAYERS)
    load, first, empty = 4 * 8 * 4, 8 * 8 * 4, 3 * 4 * 8 * 4
    one_layer = 8 * 8 * 4 + 4 * 8 * 4
    assert moved_bytes(program) == load + first + empty + 3 * one_layer
    assert flops(program) == 3 * 2 * 4 * 8 * 8


def test_views_and_allocations_move_nothing():
    """As a tpu7x has them: an array gets other tiles inside a fusion, and a layer of it is read."""
    text = """\
HloModule jit_f, is_scheduled=true

%retiled (p.1: bf16[3,8,128]) -> bf16[3,8,128] {
  %p.1 = bf16[3,8,128]{2,1,0:T(16,128)(2,1)} parameter(0)
  ROOT %copied = bf16[3,8,128]{2,1,0:T(8,128)(2,1)} copy(%p.1)
}

%layer (w.1: bf16[3,8,128], i.1: s32[]) -> bf16[1,8,128] {
  %w.1 = bf16[3,8,128]{2,1,0:T(16,128)(2,1)} parameter(0)
  %i.1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %view = bf16[3,8,128]{2,1,0:T(8,128)(2,1)} fusion(%w.1), kind=kLoop, ALIASING, calls=%retiled
  ROOT %slice = bf16[1,8,128]{2,1,0} dynamic-slice(%view, %i.1, %zero, %zero), dynamic_slice_sizes={1,8,128}
}

ENTRY %main (w.0: bf16[3,8,128], i.0: s32[]) -> bf16[1,8,128] {
  %w.0 = bf16[3,8,128]{2,1,0} parameter(0)
  %i.0 = s32[]{:S(6)} parameter(1)
  %new = bf16[3,8,128]{2,1,0} custom-call(), custom_call_target="AllocateBuffer"
  ROOT %out = bf16[1,8,128]{2,1,0} fusion(%w.0, %i.0), kind=kLoop, calls=%layer
}
"""
    layer = 8 * 128 * 2
    view = text.replace("ALIASING", "output_to_operand_aliasing={{}: (0, {})}")
    assert moved_bytes(HloProgram(view)) == 2 * layer
    assert moved_bytes(HloProgram(text.replace(", ALIASING", ""))) == 3 * layer + layer, (
        "a real copy reads all"
    )
