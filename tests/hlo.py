"""Compiled programs, for tests of what they communicate."""

from fnet_jax.tools.aot.hlo import COLLECTIVES, HloProgram


def collective_kinds(text: str) -> set[str]:
    """The kinds of communication anywhere in a program's text (`compiled.as_text()`)."""
    computations = HloProgram(text).computations.values()
    opcodes = {instruction.opcode for computation in computations for instruction in computation.values()}
    return {opcode.removesuffix("-start") for opcode in opcodes} & set(COLLECTIVES)
