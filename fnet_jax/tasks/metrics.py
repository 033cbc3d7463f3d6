"""Metrics as mergeable sums: a name maps to (numerator, denominator).

Sums add up over devices, accumulation parts and batches, so a mean over a split never averages
averages and does not depend on the mesh or the batch size.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np

Sums: TypeAlias = Mapping[str, tuple[jax.Array, jax.Array]]
Normalizers: TypeAlias = Mapping[str, jax.Array]
Variables: TypeAlias = Mapping[str, Any]  # Flax variables: params and constants
HostSums: TypeAlias = dict[str, tuple[float, float]]


def to_host(sums: Sums) -> HostSums:
    """Downloads the sums; waits for the step that makes them."""
    return {name: (float(num), float(den)) for name, (num, den) in jax.device_get(dict(sums)).items()}


def merge(left: HostSums, right: HostSums) -> HostSums:
    """Adds two sets of sums, in double precision; either may be empty."""
    if not left or not right:
        return dict(left or right)
    return {name: (left[name][0] + num, left[name][1] + den) for name, (num, den) in right.items()}


def merge_all(parts: Iterable[HostSums]) -> HostSums:
    """Adds up any number of sets of sums."""
    total: HostSums = {}
    for part in parts:
        total = merge(total, part)
    return total


def compute(sums: HostSums) -> dict[str, float]:
    """The means; nan where nothing was counted."""
    return {name: num / den if den else np.nan for name, (num, den) in sums.items()}
