"""What accelerators can do at best, as their makers publish it: one table for MFU, rooflines, memory."""

import dataclasses

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """The peaks of one JAX device, which is a whole chip, or one of the two cores of TPU v2, v3 and 7x.

    Attributes:
        kind: how jax's `device_kind` begins.
        bf16_flops: dense bfloat16 FLOP/s.
        hbm_bytes: of on-board memory; a compiler keeps a little of it for itself.
        hbm_bandwidth: bytes/s between that memory and the chip.
        link_bandwidth: bytes/s out to other chips over all links together, each way; None: not published.
    """

    kind: str
    bf16_flops: float
    hbm_bytes: float
    hbm_bandwidth: float
    link_bandwidth: float | None


# float32 has no column on purpose: TPUs and GPUs run it in several modes, and no one figure is right.
# Published at: TPU rows cloud.google.com/tpu/docs/NAME, "system architecture", halved where a chip is two
# devices; links are half of the bidirectional bandwidth. NVIDIA rows: the data sheet, half of NVLink.
# Compared with those pages: v5e, and FLOP/s and memory of 7x. The others are still to be compared.
CHIPS = (
    Chip("TPU v2", 22.5e12, 8 * _GIB, 350e9, None),  # v2, halved
    Chip("TPU v3", 61.5e12, 16 * _GIB, 450e9, None),  # v3, halved
    Chip("TPU v4", 275e12, 32 * _GIB, 1_200e9, 300e9),  # v4; links: 2,400 Gbit/s
    Chip("TPU v5 lite", 197e12, 16 * _GIB, 819e9, 200e9),  # v5e
    Chip("TPU v5", 459e12, 95 * _GIB, 2_765e9, 600e9),  # v5p
    Chip("TPU v6 lite", 918e12, 32 * _GIB, 1_640e9, 400e9),  # v6e
    Chip("TPU7x", 1_153.5e12, 96 * _GIB, 3_690e9, 300e9),  # tpu7x, halved
    Chip("NVIDIA A100", 312e12, 80e9, 2_039e9, 300e9),  # A100 80GB SXM
    Chip("NVIDIA A100-SXM4-40GB", 312e12, 40e9, 1_555e9, 300e9),  # A100 40GB SXM
    Chip("NVIDIA H100", 989e12, 80e9, 3_350e9, 450e9),  # H100 SXM
    Chip("NVIDIA H200", 989e12, 141e9, 4_800e9, 450e9),  # H200 SXM
)  # fmt: skip


def find_chip(device_kind: str) -> Chip | None:
    """The row for a jax `device_kind`, the one that matches longest, or None."""
    rows = [chip for chip in CHIPS if device_kind.startswith(chip.kind)]
    return max(rows, key=lambda chip: len(chip.kind), default=None)
