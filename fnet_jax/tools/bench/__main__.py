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

import os
import sys
from collections.abc import Sequence

from absl import flags

from fnet_jax.core.errors import UserError
from fnet_jax.runtime import cli
from fnet_jax.tools.bench import data, mixing, model, predict
from fnet_jax.tools.bench.plot import draw
from fnet_jax.tools.bench.report import BenchReport, device_peak_memory, machine
from fnet_jax.tools.bench.timing import measure

COMMANDS = {
    "mixing": mixing.plan,
    "step": model.step_plan,
    "infer": model.infer_plan,
    "predict": predict.plan,
    "data": data.plan,
}
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


def main(argv: Sequence[str]) -> int:
    """Times, prints the table, leaves the files."""
    if len(argv) != 2 or argv[1] not in COMMANDS:
        raise UserError(f"name what is to be timed, one of {', '.join(COMMANDS)}; found {argv[1:]}")
    command = argv[1]
    for flag in sorted({name for own in OWN_FLAGS.values() for name in own}):
        if FLAGS[flag].present and flag not in OWN_FLAGS[command]:
            raise UserError(f"--{flag} has no effect on {command}; leave it out")
    # PyTorch needs memory of the same GPU; has its effect before the first use of the device.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    plan = COMMANDS[command]()
    if not plan.names:
        raise UserError("there is no case left to time; give more of --mixers or --impls")
    baseline = plan.chosen_baseline()
    if FLAGS.out:
        try:
            os.makedirs(FLAGS.out, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"--out={FLAGS.out} cannot be made ({error.strerror}); name another folder"
            ) from error
    for warning in plan.warnings:
        print(warning, file=sys.stderr)
    facts = machine(sys.argv[1:])
    results = measure(
        plan.cases(),
        rounds=FLAGS.rounds,
        warmup=FLAGS.warmup,
        seconds=FLAGS.seconds,
        min_sample=FLAGS.min_sample_ms / 1000,
    )
    peak = device_peak_memory()
    facts |= {"most memory in use at once": f"{peak / 2**20:,.0f} MiB"} if peak else {}
    warnings = [*([FLAGS.remark] if FLAGS.remark else []), *plan.warnings]
    whole_model = command in ("step", "infer")
    report = BenchReport(plan.title, results, baseline, plan.unit, facts, warnings, utilisation=whole_model)
    print(report.table())
    if FLAGS.out:
        stem = os.path.join(FLAGS.out, FLAGS.name or f"{command}-{facts['platform']}")
        print("\nfiles: " + " ".join([*report.save(stem), *draw(report, stem + ".png")]))
    return 0 if any(result.samples for result in results) else 1


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
    flags.DEFINE_list("passes", list(mixing.PASSES), "forward, forward+backward.")
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
