"""A random permutation that needs no memory: the image of each index is computed on its own."""

import numpy as np

_ROUNDS = 6


def permute(indices: np.ndarray, size: int, *key: int) -> np.ndarray:
    """Where a permutation of range(size) sends `indices`.

    A Feistel network over the next even number of bits. An image outside of the range is permuted again until
    it lies inside (cycle walking), on average less than three times.

    Args:
        indices: integers in [0, size).
        size: of the permutation, below 2**62.
        *key: integers that choose the permutation.

    Returns:
        int64, the shape of `indices`.
    """
    half = max(1, -(-int(size - 1).bit_length() // 2))
    keys = np.random.Generator(np.random.Philox(np.random.SeedSequence(key))).integers(
        0, 2**63, _ROUNDS, np.uint64
    )
    values = np.array(indices, np.uint64)
    outside = np.ones(values.shape, bool)
    while outside.any():
        values[outside] = _feistel(values[outside], np.uint64(half), keys)
        outside = values >= size
    return values.astype(np.int64)


def _feistel(values: np.ndarray, half: np.uint64, keys: np.ndarray) -> np.ndarray:
    low = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & low
    for key in keys:
        left, right = right, left ^ (_mix(right + key) & low)
    return (left << half) | right


def _mix(x: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014); wraps around."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
