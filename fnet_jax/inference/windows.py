"""Texts that are longer than the model, as windows that overlap by half."""

from collections.abc import Sequence

from fnet_jax.tasks.features import full_length

Pieces = Sequence[int]


def starts(count: int, size: int) -> list[int]:
    """Where windows of `size` begin that cover `count` pieces.

    Neighbours overlap by half at least; the last window ends with the text, so that none is short.
    """
    if count <= size:
        return [0]
    return [*range(0, count - size, max(size // 2, 1)), count - size]


def windows(ids_a: Pieces, ids_b: Pieces | None, max_seq_length: int) -> list[tuple[Pieces, Pieces | None]]:
    """The parts of an example that fit into L = `max_seq_length` with their special pieces.

    Of a pair the longer text is divided. The shorter one stands in every window, cut to half of it.
    """
    if full_length(ids_a, ids_b) <= max_seq_length:
        return [(ids_a, ids_b)]
    if ids_b is None:
        size = max_seq_length - 2
        return [(ids_a[start : start + size], None) for start in starts(len(ids_a), size)]
    room = max_seq_length - 3
    if len(ids_b) < len(ids_a):
        ids_b = ids_b[: room // 2]
        size = room - len(ids_b)
        return [(ids_a[start : start + size], ids_b) for start in starts(len(ids_a), size)]
    ids_a = ids_a[: room // 2]
    size = room - len(ids_a)
    return [(ids_a, ids_b[start : start + size]) for start in starts(len(ids_b), size)]
