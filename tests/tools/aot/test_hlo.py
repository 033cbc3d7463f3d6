"""The reader of compiled programs, on programs small enough to count by hand."""

import jax
import jax.numpy as jnp
import pytest

from fnet_jax.core.mesh import batch_sharding, create_mesh, replicated
from fnet_jax.tools.aot.hlo import HloProgram, Shape
from fnet_jax.tools.aot.hlo_cost import moved_bytes
from tests.hlo import collective_kinds


def compiled(fn, *shapes, sharded=1):
    """The text of `fn` for 8 devices; the first `sharded` arguments lie along the batch."""
    mesh = create_mesh()
    args = [
        jax.ShapeDtypeStruct(
            shape, jnp.float32, sharding=batch_sharding(mesh) if i < sharded else replicated(mesh)
        )
        for i, shape in enumerate(shapes)
    ]
    with jax.set_mesh(mesh):
        return jax.jit(fn, out_shardings=replicated(mesh)).lower(*args).compile().as_text()


def test_a_gradient_is_reduced_once():
    text = compiled(lambda x_BD, g_BF: x_BD.T @ g_BF, (16, 24), (16, 40), sharded=2)
    (found,) = HloProgram(text).collectives()
    assert (found.kind, found.num_bytes) == ("all-reduce", 24 * 40 * 4)
    assert (found.executions, found.in_loop, found.group) == (1, False, 8)


@pytest.mark.parametrize(
    ("attributes", "group"),
    [
        ("replica_groups=[4,2]<=[8]", 2),
        ("replica_groups=[2,4]<=[4,2]T(1,0)", 4),
        ("replica_groups={{0,1,2,3},{4,5,6,7}}", 4),
        ("replica_groups=mesh['a'=2,'b'=4,'c'=1] {'b','c'}", 4),
        ("replica_groups=mesh['a'=2,'b'=4] {'a','b':(1)2}", 4),
        ("replica_groups={}", 0),
        ("source_target_pairs={{0,1},{1,2}}", 2),
    ],
)
def test_devices_that_take_part(attributes, group):
    gather = f"  %y = f32[4]{{0}} all-gather(%x), {attributes}, dimensions={{0}}"
    text = f"ENTRY %main (x: f32[4]) -> f32[4] {{\n{gather}\n}}"
    (found,) = HloProgram(text).collectives()
    assert found.group == group


def test_a_collective_spread_over_fusions_counts_once():
    """Channels alone tell nothing: what stands in the program itself may share one."""
    gather = "%{} = f32[4]{{0}} all-gather(%x), channel_id=1, replica_groups={{}}, dimensions={{0}}"
    fusions = "".join(
        f"%part.{i} (x: f32[4]) -> f32[4] {{\n  ROOT {gather.format('g')}\n}}\n" for i in range(3)
    )
    calls = [f"%f{i} = f32[4]{{0}} fusion(%x), kind=kCustom, calls=%part.{i}" for i in range(3)]
    lines = "\n  ".join([*calls, gather.format("a"), gather.format("b")])
    text = f"{fusions}ENTRY %main (x: f32[4]) -> f32[4] {{\n  {lines}\n}}"
    assert len(HloProgram(text).collectives()) == 1 + 2
    on_chip = text.replace("ROOT %g = f32[4]{0}", "ROOT %g = f32[4]{0:S(1)}", 1)
    assert on_chip != text
    assert len(HloProgram(on_chip).collectives()) == 1 + 2


def test_a_collective_that_runs_beside_the_rest():
    """As on tpu7x, where another kind of core adds the gradients up."""
    text = """\
%beside (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  ROOT %sum = f32[4]{0} all-reduce(%x), channel_id=1, replica_groups={}, to_apply=%add
}
ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %start = ((f32[4]), f32[4], u32[]) call-start(%x), async_execution_thread="sparsecore", to_apply=%beside
  ROOT %done = f32[4]{0} call-done(%start)
}
"""
    (found,) = HloProgram(text.replace(", to_apply=%add", "")).collectives()
    assert (found.kind, found.num_bytes) == ("all-reduce", 16)
    assert moved_bytes(HloProgram(text.replace(", to_apply=%add", ""))) == 2 * 16


def test_a_fused_reduce_scatter():
    text = """
%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %c = f32[] add(%a, %b)
}
%all-reduce-scatter.1 (x: f32[8]) -> f32[2] {
  %y = f32[8]{0} all-reduce(%x), channel_id=1, replica_groups=[1,4]<=[4], to_apply=%add
  ROOT %z = f32[2]{0} dynamic-slice(%y, %i), dynamic_slice_sizes={2}
}
ENTRY %main (x: f32[8]) -> f32[2] {
  ROOT %f = f32[2]{0} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1
}"""
    (found,) = HloProgram(text).collectives()
    assert (found.kind, found.num_bytes, found.group) == ("reduce-scatter", 8, 4)


def test_a_gather_has_the_size_of_its_result():
    (found,) = HloProgram(compiled(lambda x_BD: x_BD, (16, 24))).collectives()
    assert (found.kind, found.num_bytes) == ("all-gather", 16 * 24 * 4)
    assert [shape.dims for shape in found.shapes] == [(16, 24)]


def reduced_in_loops(x_BD, outer, inner):
    """One sum over the batch in the innermost loop."""

    def body(carry_D, _):
        return jnp.tanh(carry_D + jnp.sum(jnp.sin(carry_D[None] * x_BD), axis=0)), None

    def outer_body(carry_D, _):
        return jax.lax.scan(body, carry_D, None, length=inner)[0], None

    return jax.lax.scan(outer_body, jnp.zeros(x_BD.shape[1]), None, length=outer)[0]


def test_nested_loops_multiply():
    program = HloProgram(compiled(lambda x: reduced_in_loops(x, outer=3, inner=5), (16, 24)))
    (found,) = program.collectives()
    assert (found.kind, found.num_bytes, found.executions, found.in_loop) == ("all-reduce", 24 * 4, 15, True)
    assert "reduce_sum" in found.origin


def test_trip_counts_without_the_compilers_note():
    """As on a TPU, whose programs do not carry it."""
    text = compiled(lambda x: reduced_in_loops(x, outer=3, inner=5), (16, 24))
    assert '"known_trip_count"' in text
    (found,) = HloProgram(text.replace('"known_trip_count"', '"unknown"')).collectives()
    assert found.executions == 15


def test_a_loop_of_unknown_length_is_refused():
    text = compiled(lambda x: jax.lax.while_loop(lambda y: jnp.sum(y) < 1e3, lambda y: 2 * y, x), (16, 24))
    with pytest.raises(ValueError, match="trip count of loop"):
        HloProgram(text).collectives()


def test_no_communication():
    assert collective_kinds(compiled(lambda x: x @ x.T, (16, 24), sharded=0)) == set()


TPU_PROGRAM = """\
HloModule jit_f, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%condition (carry.1: (s32[], s32[], bf16[4,8])) -> pred[] {
  %carry.1 = (s32[]{:T(128)}, s32[], /*index=2*/bf16[4,8]{1,0:T(8,128)(2,1)S(1)}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%carry.1), index=0
  %n.1 = s32[] get-tuple-element(%carry.1), index=1
  ROOT %less = pred[] compare(%i.1, %n.1), direction=LT
}

%body (carry.2: (s32[], s32[], bf16[4,8])) -> (s32[], s32[], bf16[4,8]) {
  %carry.2 = (s32[], s32[], bf16[4,8]) parameter(0)
  %x = bf16[4,8]{1,0:T(8,128)(2,1)S(1)} get-tuple-element(%carry.2), index=2
  %reduce = (bf16[4,8]{1,0:T(8,128)(2,1)S(1)}, f32[3]{0}) all-reduce(%x, %y), to_apply=%add
  ROOT %out = (s32[], s32[], bf16[4,8]) tuple(%i, %n, %x)
}

ENTRY %main (p: bf16[4,8]) -> bf16[16,8] {
  %p = bf16[4,8]{1,0:T(8,128)(2,1)} parameter(0)
  %zero = s32[]{:T(128)} constant(0)
  %seven = s32[] constant(7)
  %init = (s32[], s32[], bf16[4,8]) tuple(%zero, %seven, %p)
  %loop = (s32[], s32[], bf16[4,8]) while(%init), condition=%condition, body=%body
  %start = (bf16[4,8]{1,0}, bf16[16,8]{1,0}, u32[]) all-gather-start(%p), metadata={op_name="jit(f)/gather"}
  ROOT %done = bf16[16,8]{1,0} all-gather-done(%start)
}
"""


def test_the_text_of_a_tpu_program():
    """Layouts with memory spaces, a limit that is carried through the loop, an asynchronous pair."""
    program = HloProgram(TPU_PROGRAM)
    gather, reduce = sorted(program.collectives(), key=lambda found: found.kind)
    assert (gather.kind, gather.num_bytes, gather.executions, gather.in_loop) == ("all-gather", 256, 1, False)
    assert gather.origin == "jit(f)/gather"
    assert (reduce.num_bytes, reduce.executions, reduce.in_loop) == (64 + 12, 7, True)
    assert reduce.shapes == (Shape("bf16", (4, 8), space=1), Shape("f32", (3,)))
    assert program.runs["add"] == (0, False)


@pytest.mark.parametrize(
    ("shape", "num_bytes"),
    [
        (Shape("pred", (3,)), 3),
        (Shape("bf16", (2, 5)), 20),
        (Shape("s4", (3,)), 2),
        (Shape("f8e4m3fn", (7,)), 7),
        (Shape("c64", ()), 8),
        (Shape("token", ()), 0),
    ],
)
def test_bytes(shape, num_bytes):
    assert shape.num_bytes == num_bytes
