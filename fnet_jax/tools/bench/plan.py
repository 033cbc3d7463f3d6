"""What a command of the benchmark is to time, and the reading of its flags."""

import dataclasses
import importlib.util
from collections.abc import Callable, Collection, Mapping, Sequence

from absl import flags

from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.tools.bench.timing import BenchCase, CaseSetting, grid
from fnet_jax.train.concrete import read_config

DTYPES = ("float32", "bfloat16")
INSTALL_PEERS = 'pip install "fnet_jax[bench]"'
FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class BenchPlan:
    """What a command is to time: in each setting, a case of each name.

    Attributes:
        title: of the report.
        settings: shapes, dtypes and the like.
        names: of the cases in one setting.
        make_case: the case of a setting and a name.
        baseline: where `--baseline` does not say; the first case if there is no such one.
        unit: of what is counted per second.
        warnings: on what is left out.
    """

    title: str
    settings: Sequence[CaseSetting]
    names: Sequence[str]
    make_case: Callable[[CaseSetting, str], BenchCase]
    baseline: str
    unit: str = "tokens"
    warnings: tuple[str, ...] = ()

    def cases(self) -> list[BenchCase]:
        """All of them, in the order of the table."""
        return [self.make_case(setting, name) for setting in self.settings for name in self.names]

    def chosen_baseline(self) -> str:
        """The name of the case that the others are compared with."""
        if FLAGS.baseline is None:
            return self.baseline if self.baseline in self.names else self.names[0]
        return known("baseline", [FLAGS.baseline], self.names)[0]


def config() -> Config:
    """The config of `--config`, which must be given."""
    if FLAGS.config is None:
        raise UserError("--config is not given; such as --config=configs/pretrain.py:size=base")
    return read_config()


def model_settings(model_config: Config, batches: Sequence[int] = ()) -> list[dict[str, int | str]]:
    """The settings of cases with whole models.

    Args:
        model_config: whose model tells dtype and length where the flags do not.
        batches: in place of `--batches`, if not given; () leaves the batch out of the setting.
    """
    model = model_config.model
    axes: dict[str, Sequence[int | str]] = {"dtype": known("dtypes", FLAGS.dtypes or [model.dtype], DTYPES)}
    axes |= batch_axis(batches) if batches else {}
    return grid(axes | {"length": numbers("lengths", FLAGS.lengths or [model.max_seq_length])})


def batch_axis(default: Sequence[int]) -> Mapping[str, Sequence[int]]:
    """The axis "tokens" or "batch" of the settings, by `--tokens`, `--batches` or the default."""
    if FLAGS.tokens and FLAGS.batches:
        raise UserError(f"--tokens={FLAGS.tokens} and --batches exclude each other; leave one out")
    if FLAGS.tokens:
        return {"tokens": [FLAGS.tokens]}
    return {"batch": numbers("batches", FLAGS.batches or default)}


def numbers(flag: str, values: Sequence[str | int], least: int = 1) -> list[int]:
    """The values of a flag, each once."""
    for value in values:
        if not str(value).isdecimal() or int(value) < least:
            raise UserError(
                f"--{flag}: {value!r} is no number of {least} or more; separate several by commas"
            )
    return [int(value) for value in dict.fromkeys(values)]


def known(flag: str, values: Sequence[str], valid: Collection[str]) -> list[str]:
    """The values of a flag, each once, all of them among the valid ones."""
    for value in values:
        if value not in valid:
            raise UserError(f"--{flag}: {value!r} is unknown; valid: {', '.join(valid)}")
    return list(dict.fromkeys(values))


def missing(*packages: str) -> list[str]:
    """Those of the packages that are not installed."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


def left_out(cases: Collection[str], *packages: str, how: str = f"{INSTALL_PEERS} adds") -> tuple[str, ...]:
    """The warning that cases are missing for want of packages, if they are wanted."""
    lacking = missing(*packages) if FLAGS.peers else []
    if not lacking:
        return ()
    return (f"left out for want of {' and '.join(lacking)}: {', '.join(cases)}; {how} them",)
