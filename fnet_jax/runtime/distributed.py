"""Joins the processes of one program, one per host, as the environment or the flags say.

JAX recognises TPU VMs (also several slices), GKE, Kubernetes, SLURM and Open MPI by their environment
variables. See docs/hosts.md.
"""

import errno
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import socket
import sys
import threading
import time

from absl import flags

from fnet_jax.core import config_dict
from fnet_jax.core.config import Config
from fnet_jax.core.errors import MachineError, UserError
from fnet_jax.runtime import hosts

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
_SHOWN_HOSTS = 8
_SERVICE_EXIT_S = 2.0  # by which process 0 gives up later, since the others ask whether it answers
_GRACE_S = 60  # by which JAX, which aborts at its time-out, gets a longer one than ours, which says why


flags.disclaim_key_flags()  # they belong to the program that calls `define_flags`


def define_flags() -> None:
    """Defines the flags that `start_by_flags` reads."""
    flags.DEFINE_enum(
        "distributed", "auto", ["auto", "off"],
        "auto: several processes, if the environment or the flags below say so. off: this one alone.",
    )  # fmt: skip
    flags.DEFINE_string("coordinator_address", None, "HOST:PORT of process 0; by default what JAX finds.")
    flags.DEFINE_integer("num_processes", None, "Number of processes.", lower_bound=1)
    flags.DEFINE_integer("process_id", None, "Number of this process, from 0.", lower_bound=0)
    flags.DEFINE_integer("init_timeout_s", 300, "Seconds to wait for all processes to come.", lower_bound=1)
    flags.DEFINE_integer(
        "heartbeat_timeout_s", 100, "Seconds after which a silent process is taken for dead.", lower_bound=10
    )


def start_by_flags(config: Config, workdir: str) -> None:
    """`start` with the values of the flags; then compares program, config and workdir of all processes.

    Raises:
        UserError: if flags exclude each other, or the processes differ.
        MachineError: if not all processes come.
    """
    import jax

    flag = flags.FLAGS
    named = (flag.coordinator_address, flag.num_processes, flag.process_id)
    start(*named, flag.distributed == "auto", flag.init_timeout_s, flag.heartbeat_timeout_s)
    if hosts.count() == 1:
        return
    hosts.require_same({**versions(), **config_dict.flat(config), "--workdir": workdir})
    hosts.require_same({"devices per process": jax.local_device_count()})
    names = hosts.all_gather(socket.gethostname())
    more = f" and {len(names) - _SHOWN_HOSTS} more" if len(names) > _SHOWN_HOSTS else ""
    hosts.print_once(
        f"process 0 of {hosts.count()}: {jax.device_count()} devices, {jax.local_device_count()} here; "
        f"hosts {', '.join(names[:_SHOWN_HOSTS])}{more}"
    )


def start(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    auto: bool = True,
    init_timeout_s: int = 300,
    heartbeat_timeout_s: int = 100,
) -> None:
    """Joins the other processes; returns at once where there are none. Call it before any device work.

    Args:
        coordinator_address: "HOST:PORT" of process 0; if None, JAX looks in the environment for this and for
            the next two.
        num_processes: how many there are.
        process_id: of this one, below `num_processes`.
        auto: whether to look in the environment.
        init_timeout_s: seconds to wait for all; then the program ends with a sentence and exit code 1.
        heartbeat_timeout_s: seconds after which a silent process is taken for dead.

    Raises:
        UserError: if the values do not go together.
        MachineError: if the address cannot be used.
    """
    named = _check(coordinator_address, num_processes, process_id, auto)
    if not auto or num_processes == 1:
        return
    import jax

    if named and process_id == 0:
        _check_port(int(str(coordinator_address).rpartition(":")[2]))
    # It would take SIGTERM away from runtime/signals.py.
    jax.config.update("jax_enable_preemption_service", False)
    alarm = threading.Timer(init_timeout_s, _give_up, (init_timeout_s,))
    alarm.daemon = True
    alarm.start()
    try:
        jax.distributed.initialize(
            coordinator_address,
            num_processes,
            process_id,
            cluster_detection_method="deactivate" if named else None,
            initialization_timeout=init_timeout_s + _GRACE_S,
            heartbeat_timeout_seconds=heartbeat_timeout_s,
        )
    except ValueError as error:
        if str(error).startswith("coordinator_address"):  # no environment that JAX knows
            return
        raise UserError(f"several processes are asked for, but {error} See docs/hosts.md") from error
    except RuntimeError as error:
        raise MachineError(_refusal(str(error))) from error
    finally:
        alarm.cancel()
    hosts.watch_peers()


def _check_port(port: int) -> None:
    """Refuses a port that is taken, on which JAX's service can crash."""
    try:
        if socket.has_dualstack_ipv6():
            socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True).close()
        else:
            socket.create_server(("", port)).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return
        raise MachineError(_taken(port)) from error


def _taken(port: int | str) -> str:
    return f"port {port} of this machine is taken; let process 0 use another one (docs/hosts.md)"


def versions() -> dict[str, str]:
    """What must be equal on all processes of one program: versions of libraries, and a hash of our code."""
    code = hashlib.sha256()
    root = pathlib.Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        code.update(path.read_bytes())
    found = {f"version of {name}": importlib.metadata.version(name) for name in _PACKAGES}
    return {
        **found,
        "version of Python": platform.python_version(),
        "code of fnet_jax": code.hexdigest()[:12],
    }


def _check(address: str | None, num_processes: int | None, process_id: int | None, auto: bool) -> bool:
    """Checks the arguments of `start`; returns whether they name the processes."""
    values = {"coordinator_address": address, "num_processes": num_processes, "process_id": process_id}
    given = [f"--{name}={value}" for name, value in values.items() if value is not None]
    missing = [f"--{name}" for name, value in values.items() if value is None]
    if not given:
        return False
    if not auto:
        raise UserError(f"{given[0]} and --distributed=off exclude each other; leave one out")
    if address is None or num_processes is None or process_id is None:
        raise UserError(f"{', '.join(given)} without {', '.join(missing)}; give all three, or none")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise UserError(f"--coordinator_address={address} must be HOST:PORT, such as 10.0.0.1:8476")
    if process_id >= num_processes:
        raise UserError(
            f"--process_id={process_id} must be below --num_processes={num_processes}; they count from 0"
        )
    return True


def _give_up(waited_s: int) -> None:
    """Says who is missing and ends the program, in a thread beside the main one, which waits in JAX."""
    state = hosts.service()
    address = state.coordinator_address
    who = f"process {state.process_id} of {state.num_processes} waited {waited_s} s"
    if address is None:
        text = f"the environment did not name process 0 within {waited_s} s; see docs/hosts.md"
    elif _answers(address):
        text = (
            f"{who}: {address} answers, but not all {state.num_processes} processes have come; start the "
            "same command on every host, each process number once, or wait longer with --init_timeout_s"
        )
    else:
        text = (
            f"{who}: nothing answers at {address}; process 0 must run there, and the firewall must let port "
            f"{address.rpartition(':')[2]} pass; start the same command on every host"
        )
    print(f"error: {text}", file=sys.stderr, flush=True)
    if state.process_id == 0:
        time.sleep(_SERVICE_EXIT_S)
    os._exit(1)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def _refusal(reason: str) -> str:
    address = str(hosts.service().coordinator_address)
    if "RPC server" in reason:
        port = address.rpartition(":")[2]
        return _taken(port)
    return f"the processes do not come together at {address}: {reason.strip().splitlines()[0]}"
