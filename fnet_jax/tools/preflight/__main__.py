"""Checks what would stop a training run, or make its hosts disagree, before any device time is spent.

    python -m fnet_jax.tools.preflight --config=configs/pretrain.py:size=base --workdir=W

Started as train.py would be: with the same flags, on every host. `--topology=v5e:4x4` checks for a TPU slice
that is not there, from any one machine. Prints a line for each check, "ok" or "FAIL"; leaves nothing behind.
Exit codes: 0 all is well; 2 something is not. See docs/launch.md.
"""

import os
import sys

from fnet_jax.tools.aot.env import ENVIRONMENT

if any(arg.startswith("--topology") for arg in sys.argv):
    os.environ.update(ENVIRONMENT)

import dataclasses
import socket
from collections.abc import Callable, Sequence

from absl import flags

from fnet_jax.core.errors import UserError
from fnet_jax.runtime import cli, distributed, hosts
from fnet_jax.tools.preflight.checks import Finding, Preflight
from fnet_jax.train.concrete import read_config

FLAGS = flags.FLAGS


def ask(check: Callable[[], Finding]) -> Finding:
    """What a check finds here; whatever goes wrong is a fault, so that no other process waits in vain."""
    try:
        return check()
    except UserError as error:
        return Finding(fault=str(error))
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return Finding(fault=f"{type(error).__name__}: {lines[0]}")


def exchange(finding: Finding, name: str) -> list[tuple[str, Finding]]:
    """Host name and finding of each process, by their numbers."""
    own = (socket.gethostname(), dataclasses.asdict(finding))
    everyone = hosts.all_gather(own, f"the check of the {name}")
    return [(host, Finding(**values)) for host, values in everyone]


def verdict(findings: Sequence[tuple[str, Finding]]) -> Finding:
    """What the findings of all processes, by their numbers, come to.

    Args:
        findings: host name and finding of each process.

    Returns:
        A finding whose fault, if there is one, names the first process that it is about.
    """

    def named(number: int) -> str:
        return f"process {number} ({findings[number][0]})"

    faults = [number for number, (_, finding) in enumerate(findings) if finding.fault]
    if faults:
        fault = findings[faults[0]][1].fault
        alike = len({finding.fault for _, finding in findings}) == 1
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return Finding(fault=fault if alike else f"{named(faults[0])}{more}: {fault}")
    first = findings[0][1]
    for key in sorted({key for _, finding in findings for key in finding.same}):
        values = [finding.same.get(key) for _, finding in findings]
        others = [number for number, value in enumerate(values) if value != values[0]]
        if others:
            more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
            return Finding(
                fault=f"{key} is {values[0]!r} on {named(0)}, but {values[others[0]]!r} on "
                f"{named(others[0])}{more}; make all hosts alike"
            )
    return first


def main(argv: Sequence[str]) -> int:
    """Checks one thing after the other; the exit code says whether all is well."""
    del argv
    config, workdir = read_config(), cli.workdir()
    named = (FLAGS.coordinator_address, FLAGS.num_processes, FLAGS.process_id)
    auto = FLAGS.distributed == "auto" and not FLAGS.topology
    distributed.start(*named, auto or any(named), FLAGS.init_timeout_s, FLAGS.heartbeat_timeout_s)
    failed = 0
    with Preflight(config, workdir, FLAGS.topology) as preflight:
        for name, check in preflight.checks():
            found = verdict(exchange(ask(check), name))
            failed += bool(found.fault)
            preflight.passed[name] = not found.fault
            hosts.print_once(f"{'FAIL' if found.fault else 'ok  '} {name}: {found.fault or found.said}")
        hosts.all_gather("", "the end of all checks")
    hosts.print_once(
        f"{failed} of {len(preflight.passed)} checks failed" if failed else "ready: python train.py"
    )
    return cli.EXIT_USER_ERROR if failed else 0


if __name__ == "__main__":
    cli.define_run_flags()
    distributed.define_flags()
    flags.DEFINE_string("topology", None, "TPU slice to check for, such as v5e:4x4; by default what is here.")
    cli.run(main)
