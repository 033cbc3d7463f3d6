"""Sweeps as lists of dicts."""

import re

import numpy as np
import pytest

from fnet_jax.core import sweep
from fnet_jax.core.errors import UserError

RATES = sweep.values("optim.learning_rate", [1e-5, 5e-5])
SEEDS = sweep.values("seed", range(3))


def test_product_varies_the_last_fastest():
    points = sweep.product(RATES, SEEDS)
    assert [(p["optim.learning_rate"], p["seed"]) for p in points] == [
        (1e-5, 0), (1e-5, 1), (1e-5, 2), (5e-5, 0), (5e-5, 1), (5e-5, 2)
    ]  # fmt: skip


def test_zip_and_chain():
    widths = sweep.zip_(sweep.values("model.d_model", [64, 128]), sweep.values("model.d_ff", [256, 512]))
    assert widths == [
        {"model.d_model": 64, "model.d_ff": 256},
        {"model.d_model": 128, "model.d_ff": 512},
    ]
    assert sweep.chain(SEEDS, RATES) == [*SEEDS, *RATES]


def test_numbers_of_numpy_become_numbers_of_python():
    assert [type(point["seed"]) for point in sweep.values("seed", np.arange(2))] == [int, int]
    rates = sweep.values("optim.learning_rate", np.geomspace(1e-5, 1e-3, 3))
    assert [type(point["optim.learning_rate"]) for point in rates] == [float] * 3


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: sweep.zip_(RATES, SEEDS), "optim.learning_rate (2) and seed (3)"),
        (lambda: sweep.product(SEEDS, SEEDS), "both set seed"),
        (lambda: sweep.zip_(SEEDS, SEEDS), "both set seed"),
        (lambda: sweep.values("seed", []), "seed has no values"),
        (lambda: sweep.check([]), "no points"),
        (lambda: sweep.check({"seed": 0}), "list of dicts"),
        (lambda: sweep.check([{"optim.learning_rat": 1.0}]), "did you mean learning_rate"),
        (lambda: sweep.check(SEEDS, fixed=["seed"]), "--config.seed is set"),
        (
            lambda: sweep.check([{"seed": 1, "model.d_ff": 8}, {"seed": 2}, {"model.d_ff": 8, "seed": 1}]),
            "points 1 and 3",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(make, says):
    with pytest.raises(UserError, match=re.escape(says)) as error:
        make()
    assert "\n" not in str(error.value)


def test_varying_keys_in_order():
    points = sweep.chain(sweep.product(RATES, sweep.values("task", ["cola"])), [{"seed": 1, "task": "cola"}])
    assert sweep.varying(points) == ["optim.learning_rate", "seed"]
    assert sweep.varying([{"seed": 1}]) == []


def test_names_are_fit_for_folders_and_tell_points_apart():
    assert sweep.point_name({"optim.learning_rate": 5e-5, "seed": 1}) == "optim.learning_rate=5e-05,seed=1"
    assert sweep.point_name({}) == "defaults"
    close = {sweep.point_name({"optim.learning_rate": value}) for value in (0.1, 0.1 + 1e-12)}
    assert len(close) == 2
    paths = [sweep.point_name({"data.corpus": path}) for path in ("/a/b.txt", "/a_b.txt", "_a_b.txt")]
    assert len(set(paths)) == 3
    assert not any("/" in path for path in paths)
    long = [sweep.point_name({"optim.learning_rate_rules": "x" * 300 + end}) for end in "ab"]
    assert long[0] != long[1]
    assert max(map(len, long)) < 200


def test_get_sweep_gets_the_argument_if_it_takes_one(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("def get_sweep(arg='none'):\n    return [{'task': arg}]\n")
    assert sweep.load(f"{path}:cola") == [{"task": "cola"}]
    assert sweep.load(str(path)) == [{"task": "none"}]
    path.write_text("def get_sweep():\n    return [{'seed': 7}]\n")
    assert sweep.load(f"{path}:cola") == [{"seed": 7}]
    path.write_text("")
    with pytest.raises(UserError, match="defines no get_sweep"):
        sweep.load(str(path))
