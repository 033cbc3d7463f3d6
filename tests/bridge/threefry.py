"""The random numbers of the original's mixer "random", in NumPy: Threefry-2x32 as JAX used it before 0.5.

Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; there is a counter for each number, and the
first half of the counters is enciphered together with the second.
"""

import numpy as np
import scipy.special


def key(seed):
    return np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32)


def split(key):
    return _bits(key, 4).reshape(2, 2)


def lecun_normal(key, n):
    """[n, n] with variance 1/n: a normal distribution cut off at 2 standard deviations."""
    unit = (_bits(key, n * n) >> np.uint32(9)).astype(np.float64) / 2**23
    bound = scipy.special.erf(np.sqrt(2))
    normal = np.sqrt(2) * scipy.special.erfinv(bound * (2 * unit - 1))
    return (normal * n**-0.5 / 0.87962566103423978).reshape(n, n)


def matrices(seed, layers, width, length):
    """For each layer the matrices of the original."""
    found, state = [], key(seed)
    for _ in range(layers):
        state, own = split(state)
        hidden, seq = split(own)
        found.append({"hidden_kernel": lecun_normal(hidden, width), "seq_kernel": lecun_normal(seq, length)})
    return found


def _bits(key, count):
    counters = np.arange(count + count % 2, dtype=np.uint32)
    return np.concatenate(_threefry(key, *np.split(counters, 2)))[:count]


def _threefry(key, x, y):
    keys = [*key, key[0] ^ key[1] ^ np.uint32(0x1BD11BDA)]
    x, y = x + keys[0], y + keys[1]
    for i in range(5):
        for rotation in ((13, 15, 26, 6), (17, 29, 16, 24))[i % 2]:
            x = x + y
            y = ((y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation))) ^ x
        x, y = x + keys[(i + 1) % 3], y + keys[(i + 2) % 3] + np.uint32(i + 1)
    return x, y
