import itertools

import hypothesis.strategies as st
from hypothesis import given, settings

from fnet_jax.inference.preprocessing import window_starts, windows
from fnet_jax.tasks.features import full_length


@settings(max_examples=200, deadline=None)
@given(count=st.integers(0, 300), size=st.integers(1, 40))
def test_windows_cover_a_text_and_overlap_by_half(count, size):
    begins = window_starts(count, size)
    assert begins == sorted(set(begins)) and begins[0] == 0
    assert begins[-1] + size >= count
    assert len(begins) == 1 or begins[-1] + size == count
    for before, after in itertools.pairwise(begins):
        assert before + size - after >= size // 2


@settings(max_examples=200, deadline=None)
@given(a=st.integers(0, 90), b=st.one_of(st.none(), st.integers(0, 90)), length=st.integers(6, 40))
def test_every_window_fits_and_nothing_is_lost_but_of_the_shorter_text(a, b, length):
    ids_a = list(range(a))
    ids_b = None if b is None else list(range(100, 100 + b))
    parts = windows(ids_a, ids_b, length)
    assert all(full_length(*part) <= length for part in parts)
    seen_a = {token for part, _ in parts for token in part}
    if ids_b is None:
        assert seen_a == set(ids_a)
        return
    seen_b = {token for _, part in parts for token in part or ()}
    shorter, seen = (ids_b, seen_b) if len(ids_b) < len(ids_a) else (ids_a, seen_a)
    longer, whole = (ids_a, seen_a) if len(ids_b) < len(ids_a) else (ids_b, seen_b)
    assert whole == set(longer)
    assert seen == set(shorter) or seen == set(shorter[: (length - 3) // 2])
