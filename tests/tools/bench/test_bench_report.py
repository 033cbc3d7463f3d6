"""The table, the figures and the picture of made-up times."""

import json

import matplotlib.image
import pytest

from fnet_jax.tools.bench.plot import draw
from fnet_jax.tools.bench.report import BenchReport, machine, show_ms, split_settings
from fnet_jax.tools.bench.timing import BenchCase, CaseResult, TimedProgram


def row(name, samples, error="", note="", items=1000, floor=None, **setting):
    case = BenchCase(name, {"dtype": "float32", **setting}, TimedProgram, items=items, floor=floor)
    program = TimedProgram(lambda calls: None, memory=3 * 2**20, note=note)
    return CaseResult(case, tuple(samples), 1, None if error else program, error)


def report(rows, **kwargs):
    return BenchReport(
        "Mixing", rows, "slow", "tokens", {"devices": "1 x made up", "XLA_FLAGS": ""}, **kwargs
    )


@pytest.fixture
def two_lengths():
    return report(
        [
            row("slow", [0.010, 0.020, 0.030], length=8),
            row("fast", [0.001, 0.004, 0.005], length=8, note="is fft"),
            row("slow", [0.040, 0.040, 0.040], length=16),
            row("fast", [], error="no room", length=16),
        ],
        warnings=["the machine was busy"],
    )


def test_table(two_lengths):
    assert two_lengths.table().splitlines() == [
        "dtype float32",
        "",
        "| length | case | median ms | quartiles ms | times slow | tokens/s | memory MiB | remark  |",
        "|-------:|------|----------:|-------------:|-----------:|---------:|-----------:|---------|",
        "|      8 | slow |      20.0 | 15.0 to 25.0 |       1.00 |   50,000 |          3 | -       |",
        "|      8 | fast |      4.00 | 2.50 to 4.50 |       6.00 |  250,000 |          3 | is fft  |",
        "|     16 | slow |      40.0 | 40.0 to 40.0 |       1.00 |   25,000 |          3 | -       |",
        "|     16 | fast |         - |            - |          - |        - |          - | no room |",
    ]


def test_files(two_lengths, tmp_path):
    assert two_lengths.save(str(tmp_path / "a")) == [str(tmp_path / "a.json"), str(tmp_path / "a.md")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.md"]
    values = json.loads((tmp_path / "a.json").read_text())
    first = values["rows"][1]
    assert first["seconds"]["median"] == 0.004
    assert first["times_baseline"] == 6.0
    assert first["tokens_per_second"] == 250_000
    assert first["samples"] == [0.001, 0.004, 0.005]
    assert values["rows"][3] == {
        "case": "fast",
        "setting": {"dtype": "float32", "length": 16},
        "error": "no room",
    }
    page = (tmp_path / "a.md").read_text()
    assert page.startswith("# Mixing\n\n- devices: 1 x made up\n- the machine was busy\n\ndtype float32\n")
    assert "XLA_FLAGS" not in page


def test_without_the_baseline_there_are_no_ratios():
    alone = report([row("slow", [], error="no room", length=8), row("fast", [1.0], length=8)])
    assert alone.ratio(alone.rows[1]) is None


def test_share_of_the_peak():
    found = report([row("slow", [0.01, 0.02, 0.03], floor=0.005)], utilisation=True)
    assert found.mfu(found.rows[0]) == 0.25
    assert "MFU" in found.table()
    assert "MFU" not in report(found.rows).table()


def test_settings_are_split_in_shared_and_varying():
    settings = [{"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}]
    assert split_settings(settings) == ({"a": 1}, ["b", "c"])


@pytest.mark.parametrize(
    ("seconds", "shown"), [(2.5, "2,500"), (0.1234, "123"), (0.01234, "12.3"), (1.234e-5, "0.0123"), (0, "0")]
)
def test_milliseconds(seconds, shown):
    assert show_ms(seconds) == shown


def test_machine():
    facts = machine(["mixing", "--name=a b", "--remark=c"])
    assert facts["command"] == "python -m fnet_jax.tools.bench mixing '--name=a b'"
    assert facts["devices"].endswith("x cpu")
    assert facts["versions"]["jax"]


@pytest.mark.parametrize("lengths", [(8,), (8, 16, 32)])
def test_picture(lengths, tmp_path):
    """One panel row per dtype; lines where something lies along the axis, bars else."""
    rows = [
        row(name, [t * n, 1.1 * t * n], dtype=dtype, length=n, floor=t / 9)
        for dtype in ("float32", "bfloat16")
        for n in lengths
        for name, t in (("slow", 0.1), ("fast", 0.01))
    ]
    rows.append(row("broken", [], error="no room", length=8))
    draw(report(rows), str(tmp_path / "a.png"))
    height, width, _ = matplotlib.image.imread(tmp_path / "a.png").shape
    assert width > 1000
    assert height > 300


def test_no_picture_of_nothing(tmp_path):
    broken = report([row("broken", [], error="no room", length=8)])
    assert draw(broken, str(tmp_path / "a.png")) == []
    assert not list(tmp_path.iterdir())
