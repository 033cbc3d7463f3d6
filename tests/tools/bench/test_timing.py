"""Rounds, samples and statistics on a clock that only runs when a case says so."""

import numpy as np
import pytest

from fnet_jax.tools.bench.timing import BenchCase, TimedProgram, first_line, grid, measure, quartiles, speedup


class Clock:
    """Cases that take as long as they are told, and a log of who ran when."""

    def __init__(self):
        self.now = 0.0
        self.log: list[str] = []

    def case(self, name, took, setting=None, before=0.0):
        """A case whose k-th run takes `took(k)` seconds."""
        count = 0

        def run(calls):
            nonlocal count
            for _ in range(calls):
                self.now += took(count)
                count += 1
                self.log.append(name)

        def wait():
            self.now += before

        return BenchCase(name, setting or {"length": 8}, lambda: TimedProgram(run, before=wait))

    def measure(self, cases, rounds=4, warmup=1, seconds=1e9, min_sample=0.0):
        return measure(
            cases,
            rounds=rounds,
            warmup=warmup,
            seconds=seconds,
            min_sample=min_sample,
            timer=lambda: self.now,
        )


@pytest.mark.parametrize("count", [1, 2, 3, 10, 21])
def test_quartiles(count):
    samples = np.random.default_rng(count).exponential(size=count)
    np.testing.assert_allclose(quartiles(samples.tolist()), np.percentile(samples, [25, 50, 75]), rtol=1e-12)


def test_speedup_compares_within_rounds():
    """A machine that is ten times as slow in two of three rounds hides nothing."""
    load = np.array([1.0, 10.0, 10.0])
    assert speedup((6.0 * load).tolist(), (2.0 * load).tolist()) == pytest.approx(3.0)
    assert speedup([6.0, 60.0, 60.0], [20.0, 2.0, 20.0]) == pytest.approx(3.0)
    assert speedup([], [1.0]) is None
    assert speedup([1.0], []) is None


def test_every_round_has_each_case_once_in_an_order_of_its_own():
    clock = Clock()
    rows = clock.measure([clock.case("a", lambda _: 1.0), clock.case("b", lambda _: 2.0)], rounds=20)
    assert clock.log[:4] == [*"aabb"]  # first run, warm-up
    orders = ["".join(clock.log[i : i + 2]) for i in range(4, len(clock.log), 2)]
    assert len(orders) == 20
    assert set(orders) == {"ab", "ba"}
    assert [row.samples for row in rows] == [(1.0,) * 20, (2.0,) * 20]
    assert [row.calls for row in rows] == [1, 1]


def test_settings_come_one_after_the_other_and_rows_keep_their_order():
    clock = Clock()
    cases = [
        clock.case(name, lambda _, t=took: t, {"length": length})
        for name, took, length in (("a", 1.0, 8), ("b", 2.0, 16), ("c", 3.0, 8))
    ]
    rows = clock.measure(cases, rounds=1)
    assert [row.case.name for row in rows] == ["a", "b", "c"]
    assert clock.log[:4] == [*"aacc"]
    assert sorted(clock.log[4:6]) == [*"ac"]
    assert clock.log[6:] == [*"bb", *"b"]


def test_the_first_run_and_the_preparation_do_not_count():
    clock = Clock()
    (row,) = clock.measure([clock.case("a", lambda k: 100.0 if k == 0 else 1.0, before=7.0)])
    assert row.samples == (1.0,) * 4


def test_short_runs_are_repeated_within_a_sample():
    clock = Clock()
    (row,) = clock.measure([clock.case("a", lambda _: 0.25)], min_sample=1.0, rounds=3)
    assert row.calls == 4
    assert len(clock.log) == 2 + 3 * 4
    assert row.samples == (0.25,) * 3


@pytest.mark.parametrize(("seconds", "slow", "fast"), [(0.0, 3, 3), (10.0, 5, 9), (1e9, 9, 9)])
def test_slow_cases_leave_time_to_the_others(seconds, slow, fast):
    clock = Clock()
    cases = [clock.case("slow", lambda _: 1.0), clock.case("fast", lambda _: 0.01)]
    rows = clock.measure(cases, rounds=9, seconds=seconds, min_sample=0.02)
    assert [len(row.samples) for row in rows] == [slow, fast]


def test_a_failing_case_is_a_row():
    clock = Clock()

    def cannot():
        raise ValueError("length 7 is prime\nand more")

    def breaks(k):
        if k == 3:
            raise MemoryError("no room")
        return 1.0

    cases = [BenchCase("a", {"length": 8}, cannot), clock.case("b", breaks), clock.case("c", lambda _: 1.0)]
    rows = clock.measure(cases)
    assert [row.error for row in rows] == ["length 7 is prime", "MemoryError: no room", ""]
    assert [len(row.samples) for row in rows] == [0, 0, 4]


def test_ctrl_c_is_no_failing_case():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Clock().measure([BenchCase("a", {}, interrupt)])


def test_errors_fit_a_table():
    assert first_line(RuntimeError("\n a | b \n c")) == "RuntimeError: a / b"
    assert first_line(ValueError("")) == "ValueError: "
    assert len(first_line(ValueError("x" * 1000))) == 160


def test_grid():
    assert grid({"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]
