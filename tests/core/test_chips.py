import pytest

from fnet_jax.core.chips import CHIPS, find_chip


@pytest.mark.parametrize(
    ("device_kind", "row"),
    [
        ("TPU v5 lite", "TPU v5 lite"),
        ("TPU v5", "TPU v5"),
        ("TPU v5p", "TPU v5"),
        ("TPU7x", "TPU7x"),
        ("NVIDIA A100-SXM4-80GB", "NVIDIA A100"),
        ("NVIDIA A100-SXM4-40GB", "NVIDIA A100-SXM4-40GB"),
        ("NVIDIA H200", "NVIDIA H200"),
    ],
)
def test_the_longest_match_is_found(device_kind, row):
    chip = find_chip(device_kind)
    assert chip is not None
    assert chip.kind == row


@pytest.mark.parametrize("device_kind", ["cpu", "", "TPU", "NVIDIA GeForce RTX 4090"])
def test_unknown_kinds_have_no_row(device_kind):
    assert find_chip(device_kind) is None


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.kind)
def test_units(chip):
    """Mixed-up units or columns are off by a thousand; a chip computes 50 to 700 FLOPs per byte it reads."""
    assert 2e13 < chip.bf16_flops < 2e15
    assert 8e9 <= chip.hbm_bytes < 3e11
    assert 50 < chip.bf16_flops / chip.hbm_bandwidth < 700
    assert chip.link_bandwidth is None or 2 < chip.hbm_bandwidth / chip.link_bandwidth < 20
