"""Times this project's parts against each other and against others': see docs/bench/README.md.

    python -m fnet_jax.tools.bench mixing --lengths=512,1024 --widths=768 --batches=8
    python -m fnet_jax.tools.bench step --config=configs/pretrain.py:size=base --mixers=fourier,attention
    python -m fnet_jax.tools.bench infer --config=configs/pretrain.py:size=base --batches=1,8,32
    python -m fnet_jax.tools.bench predict --config=configs/pretrain.py:size=base --lengths=128,512
    python -m fnet_jax.tools.bench data --config=configs/pretrain.py:size=base --workdir=W --workers=0,2

--out=FOLDER leaves the figures as JSON, a table and a picture. A case that cannot run is a row that says why.
PyTorch and Hugging Face's models take part where they are installed: pip install "fnet_jax[bench]"; so does
ONNX Runtime in infer, see docs/export.md. Exit codes: 0 done, 1 no case could run, 2 bad input.
"""

import dataclasses
import os
import sys
import typing
from collections.abc import Callable, Collection, Sequence

import jax
from absl import flags

from fnet_jax.core.config import Config, Mixer
from fnet_jax.core.errors import UserError
from fnet_jax.runtime import cli
from fnet_jax.tasks.open import open_dataset
from fnet_jax.tools.aot.compile import complete
from fnet_jax.tools.bench import data as bench_data
from fnet_jax.tools.bench import mixing as bench_mixing
from fnet_jax.tools.bench import model as bench_model
from fnet_jax.tools.bench import onnx as bench_onnx
from fnet_jax.tools.bench import predict as bench_predict
from fnet_jax.tools.bench import torch as bench_torch
from fnet_jax.tools.bench.plot import draw
from fnet_jax.tools.bench.report import Report, device_peak_memory, machine
from fnet_jax.tools.bench.timing import Case, grid, measure

DTYPES = ("float32", "bfloat16")
# Flags that belong to some of the commands; the rest belong to all.
SHAPES = ("lengths", "batches", "tokens", "dtypes", "mixers", "impls", "peers")
OWN_FLAGS = {
    "mixing": (*SHAPES, "widths", "passes"),
    "step": (*SHAPES, "config"),
    "infer": (*SHAPES, "config"),
    "predict": ("lengths", "batches", "dtypes", "config"),
    "data": ("config", "workdir", "batches", "workers"),
}

FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a command is to time.

    Attributes:
        title: of the report.
        names: of the cases in one setting.
        baseline: where `--baseline` does not say; the first case if there is no such one.
        cases: makes them, once the baseline is known to be among them.
        unit: of what is counted per second.
        warnings: on what is left out.
    """

    title: str
    names: Sequence[str]
    baseline: str
    cases: Callable[[], list[Case]]
    unit: str = "tokens"
    warnings: tuple[str, ...] = ()


def mixing() -> Plan:
    """Mixing alone."""
    mixers = _known("mixers", FLAGS.mixers or ["fourier"], bench_mixing.MIXERS)
    everything = (*bench_mixing.IMPLS, *bench_mixing.PEERS, bench_mixing.TORCH)
    usual = [name for name in everything if name != "pallas" or jax.default_backend() == "tpu"]
    impls = _known("impls", FLAGS.impls or usual, everything)  # a kernel for TPUs is interpreted elsewhere
    warnings: tuple[str, ...] = ()
    if bench_mixing.TORCH in impls and (not FLAGS.peers or bench_torch.missing("torch")):
        impls.remove(bench_mixing.TORCH)
        warnings = _left_out([bench_mixing.TORCH], "torch")
    settings = grid(
        {
            "pass": _known("passes", FLAGS.passes, bench_mixing.PASSES),
            "dtype": _known("dtypes", FLAGS.dtypes or ["float32"], DTYPES),
            "width": _numbers("widths", FLAGS.widths),
            **_batches([8]),
            "length": _numbers("lengths", FLAGS.lengths or [128, 256, 512, 1024, 2048, 4096]),
        }
    )
    names = bench_mixing.names(mixers, impls)
    make = bench_mixing.cases
    return Plan("Mixing alone", names, "jnp.fft2", lambda: make(settings, names), warnings=warnings)


def step() -> Plan:
    """The training step."""
    config = _config()
    if config.task != "pretrain":
        raise UserError(f"task={config.task!r} cannot be timed by step; give configs/pretrain.py")
    config = complete(config)
    settings, names, warnings = _model_grid(config, [config.train.train_batch_size])

    def cases() -> list[Case]:
        return bench_model.step_cases(config, settings, names)

    return Plan("Pretraining step", names, "attention", cases, warnings=warnings)


def infer() -> Plan:
    """The forward pass."""
    config = complete(_config())
    settings, names, warnings = _model_grid(config, [1, 8, 32])
    if jax.default_backend() == "cpu":  # ONNX Runtime for other devices is another package for each
        lacking = _left_out(bench_onnx.MODELS, *bench_onnx.PACKAGES, how="docs/export.md says how to add")
        names += [] if lacking or not FLAGS.peers else bench_onnx.MODELS
        warnings += lacking

    def cases() -> list[Case]:
        return bench_model.infer_cases(config, settings, names)

    return Plan("Inference, one label per text", names, "attention", cases, warnings=warnings)


def predict() -> Plan:
    """A trained model that is asked, from text to answer."""
    config = _config()
    settings = grid(
        {
            "dtype": _known("dtypes", FLAGS.dtypes or [config.model.dtype], DTYPES),
            "length": _numbers("lengths", FLAGS.lengths or [config.model.max_seq_length]),
        }
    )
    batches = _numbers("batches", FLAGS.batches or [1, 8, 32])
    names = bench_predict.names(batches)

    def cases() -> list[Case]:
        return bench_predict.cases(config, settings, names)

    return Plan("Classes of texts, from text to probabilities", names, bench_predict.LOOP, cases, "texts")


def data() -> Plan:
    """The input pipeline."""
    config = _config()
    workdir = cli.workdir()
    workers = _numbers("workers", FLAGS.workers, least=0)
    settings = grid({"batch": _numbers("batches", FLAGS.batches or [config.train.train_batch_size])})

    def cases() -> list[Case]:
        return bench_data.cases(config, open_dataset(config, workdir), settings, workers)

    names = [bench_data.name(count) for count in workers]
    title = f"Input pipeline, {config.task}, length {config.model.max_seq_length}"
    return Plan(title, names, bench_data.name(0), cases, "examples")


COMMANDS = {"mixing": mixing, "step": step, "infer": infer, "predict": predict, "data": data}


def _model_grid(
    config: Config, batches: list[int]
) -> tuple[list[dict[str, int | str]], list[str], tuple[str, ...]]:
    """Settings and names of cases with whole models, and warnings."""
    mixers = _known("mixers", FLAGS.mixers or ["fourier", "attention"], typing.get_args(Mixer))
    impls = _known("impls", FLAGS.impls or ["auto"], (*bench_mixing.IMPLS, *bench_model.ATTENTION_IMPLS))
    names = bench_model.names(mixers, impls)
    warnings = _left_out(bench_torch.MODELS, "torch", "transformers")
    if FLAGS.peers and not warnings:
        names += bench_torch.MODELS
    model = config.model
    settings = grid(
        {
            "dtype": _known("dtypes", FLAGS.dtypes or [model.dtype], DTYPES),
            **_batches(batches),
            "length": _numbers("lengths", FLAGS.lengths or [model.max_seq_length]),
        }
    )
    return settings, names, warnings


def _config() -> Config:
    if FLAGS.config is None:
        raise UserError("--config is not given; such as --config=configs/pretrain.py:size=base")
    return cli.config()


def _batches(default: list[int]) -> dict[str, list[int]]:
    if FLAGS.tokens and FLAGS.batches:
        raise UserError(f"--tokens={FLAGS.tokens} and --batches exclude each other; leave one out")
    if FLAGS.tokens:
        return {"tokens": [FLAGS.tokens]}
    return {"batch": _numbers("batches", FLAGS.batches or default)}


def _numbers(flag: str, values: Sequence[str | int], least: int = 1) -> list[int]:
    for value in values:
        if not str(value).isdecimal() or int(value) < least:
            raise UserError(
                f"--{flag}: {value!r} is no number of {least} or more; separate several by commas"
            )
    return [int(value) for value in dict.fromkeys(values)]


def _known(flag: str, values: Sequence[str], valid: Collection[str]) -> list[str]:
    for value in values:
        if value not in valid:
            raise UserError(f"--{flag}: {value!r} is unknown; valid: {', '.join(valid)}")
    return list(dict.fromkeys(values))


def _left_out(
    cases: Collection[str], *packages: str, how: str = f"{bench_torch.INSTALL} adds"
) -> tuple[str, ...]:
    """The warning that cases are missing for want of packages, if they are wanted."""
    lacking = bench_torch.missing(*packages) if FLAGS.peers else []
    if not lacking:
        return ()
    return (f"left out for want of {' and '.join(lacking)}: {', '.join(cases)}; {how} them",)


def _check_flags(command: str) -> None:
    """Refuses flags that this command does not look at."""
    for flag in sorted({name for own in OWN_FLAGS.values() for name in own}):
        if FLAGS[flag].present and flag not in OWN_FLAGS[command]:
            raise UserError(f"--{flag} has no effect on {command}; leave it out")


def _baseline(plan: Plan) -> str:
    if FLAGS.baseline is None:
        return plan.baseline if plan.baseline in plan.names else plan.names[0]
    return _known("baseline", [FLAGS.baseline], plan.names)[0]


def _folder() -> None:
    try:
        os.makedirs(FLAGS.out, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out={FLAGS.out} cannot be made ({error.strerror}); name another folder"
        ) from error


def main(argv: Sequence[str]) -> int:
    """Times, prints the table, leaves the files."""
    if len(argv) != 2 or argv[1] not in COMMANDS:
        raise UserError(f"name what is to be timed, one of {', '.join(COMMANDS)}; found {argv[1:]}")
    command = argv[1]
    _check_flags(command)
    # PyTorch needs memory of the same GPU; has its effect before the first use of the device.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    plan = COMMANDS[command]()
    if not plan.names:
        raise UserError("there is no case left to time; give more of --mixers or --impls")
    baseline = _baseline(plan)
    if FLAGS.out:
        _folder()
    for warning in plan.warnings:
        print(warning, file=sys.stderr)
    facts = machine(sys.argv[1:])
    rows = measure(
        plan.cases(),
        rounds=FLAGS.rounds,
        warmup=FLAGS.warmup,
        seconds=FLAGS.seconds,
        min_sample=FLAGS.min_sample_ms / 1000,
    )
    peak = device_peak_memory()
    facts |= {"most memory in use at once": f"{peak / 2**20:,.0f} MiB"} if peak else {}
    report = Report(
        plan.title,
        rows,
        baseline,
        plan.unit,
        facts,
        [*([FLAGS.remark] if FLAGS.remark else []), *plan.warnings],
        utilisation=command in ("step", "infer"),
    )
    print(report.table())
    if FLAGS.out:
        stem = os.path.join(FLAGS.out, FLAGS.name or f"{command}-{facts['platform']}")
        print("\nfiles: " + " ".join([*report.save(stem), *draw(report, stem + ".png")]))
    return 0 if any(row.samples for row in rows) else 1


def define_flags() -> None:
    """Defines all flags; those that a command does not look at are refused."""
    cli.define_run_flags()
    flags.DEFINE_list("lengths", None, "L; by default that of the config, or 128 to 4096 for mixing.")
    flags.DEFINE_list("widths", ["768"], "D.")
    flags.DEFINE_list(
        "batches", None, "B; by default that of the config, 8 for mixing, 1,8,32 for infer, predict."
    )
    flags.DEFINE_integer("tokens", None, "B x L, in place of --batches.", lower_bound=1)
    flags.DEFINE_list("dtypes", None, "float32, bfloat16; by default that of the config, or float32.")
    flags.DEFINE_list("passes", list(bench_mixing.PASSES), "forward, forward+backward.")
    flags.DEFINE_list("mixers", None, "Mixers as in the config; fourier, and attention for whole models.")
    flags.DEFINE_list(
        "impls", None, "Ways to compute fourier, hartley, attention; all for mixing, auto for whole models."
    )
    flags.DEFINE_list("workers", ["0", "2"], "Numbers of input processes; 0: a thread.")
    flags.DEFINE_bool("peers", True, "Whether PyTorch and transformers take part where they are installed.")
    flags.DEFINE_string("baseline", None, "Case that the others are compared with.")
    flags.DEFINE_integer("rounds", 20, "Samples of each case.", lower_bound=1)
    flags.DEFINE_integer("warmup", 2, "Runs of each case before the first sample.", lower_bound=1)
    flags.DEFINE_float(
        "seconds",
        120.0,
        "For the rounds of a setting, shared by its cases; three are made anyway.",
        lower_bound=0,
    )
    flags.DEFINE_float("min_sample_ms", 50.0, "Repeat shorter runs within a sample.", lower_bound=0)
    flags.DEFINE_string("out", None, "Folder for the figures; without it they are only printed.")
    flags.DEFINE_string(
        "name", None, "Name of the files, such as mixing-cpu; by default command and platform."
    )
    flags.DEFINE_string("remark", None, "A sentence to write beside the figures.")


if __name__ == "__main__":
    define_flags()
    cli.run(main, positional=True)
