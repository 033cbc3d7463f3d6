"""What every entry point shares: flags, exit codes, and errors in one line instead of a traceback.

Exit codes: 0 done; 1 an error of the program or machine; 2 bad input, reported in one line before any
device work; 3 the loss stopped being finite; 130 and 143 stopped by Ctrl-C or SIGTERM, state saved
(docs/faults.md).
"""

import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from fnet_jax.core import config_dict
from fnet_jax.core.errors import MachineError, UserError
from fnet_jax.runtime import hosts

EXIT_MACHINE_ERROR = 1
EXIT_USER_ERROR = 2
EXIT_DIVERGED = 3

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"

flags.disclaim_key_flags()  # the flags below are the program's that defines them; so its --help shows them


def define_run_flags() -> None:
    """Defines `--config`, `--workdir` and `--print_config`."""
    config_flags.DEFINE_config_file("config", None, "Config file, for example configs/pretrain.py:size=tiny.")
    flags.DEFINE_string("workdir", None, "Folder of the run: data set, checkpoints, metrics.")
    flags.DEFINE_bool("print_config", False, "Print the resolved config and exit.")


def run(main: Callable[[Sequence[str]], int | None], positional: bool = False) -> None:
    """Parses the flags, runs `main(argv)` and exits with its code; errors for people are one line.

    Args:
        main: gets the program's name and the arguments that are no flags.
        positional: whether such arguments are allowed.
    """

    def guarded(argv: Sequence[str]) -> int | None:
        logging.set_verbosity(logging.ERROR)  # libraries warn of what is intended, such as read-only folders
        # Orbax logs the tracebacks of errors that it raises anyway.
        logging.get_absl_logger().addFilter(lambda record: "orbax" not in record.pathname)
        try:
            _require(positional or len(argv) == 1, f"unexpected argument {argv[1:2]}; flags start with --")
            return main(argv)
        except UserError as error:
            _die(str(error))
        except MachineError as error:
            _die(str(error), EXIT_MACHINE_ERROR)
        except Exception as error:
            if hosts.count() == 1:
                raise
            lost = hosts.describe_lost_peer(error)
            if not lost:
                traceback.print_exc()
            cause = str(error).strip().splitlines() or [""]
            _die(lost or f"{type(error).__name__}: {cause[0]}", EXIT_MACHINE_ERROR)

    app.run(guarded, flags_parser=_parse_flags)


def workdir() -> str:
    """The value of `--workdir`.

    Raises:
        UserError: if it is not given, or no path.
    """
    given = flags.FLAGS.workdir
    _require(bool(given), "--workdir is not given; name a folder for data, checkpoints and metrics")
    _require(
        "://" not in given,
        f"--workdir={given} is no path; mount the bucket (docs/launch.md) and name its folder",
    )
    return os.path.abspath(os.path.expanduser(given))


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """absl's parser, but every error is one line and exit code 2, and --some-flag means --some_flag."""
    argv = _underscored(argv)
    if "--help" in argv:
        print(sys.modules["__main__"].__doc__)
        print(flags.FLAGS.main_module_help().replace(f"{sys.argv[0]}:", "Flags:").strip())
        sys.exit(0)
    if complaint := _unknown_key(argv):
        _die(complaint)
    try:
        return flags.FLAGS(_with_found_config(argv))
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        _die(_last_line(str(error)))


def _underscored(argv: Sequence[str]) -> list[str]:
    """The arguments with underscores in the names of flags; what follows "--" stays as it is."""
    end = argv.index("--") if "--" in argv else len(argv)
    return [
        re.sub("^--[^=]+", lambda name: "--" + name[0][2:].replace("-", "_"), arg) if i < end else arg
        for i, arg in enumerate(argv)
    ]


def _with_found_config(argv: Sequence[str]) -> list[str]:
    """The arguments with `find_config` of what `--config=` or `--config` names."""
    found = list(argv)
    for i, arg in enumerate(argv):
        if arg.startswith("--config="):
            found[i] = "--config=" + find_config(arg.removeprefix("--config="))
        elif i and argv[i - 1] == "--config":
            found[i] = find_config(arg)
    return found


def find_config(argument: str) -> str:
    """The value of `--config` with the path of its file: one of the user's, or else one that is shipped.

    Args:
        argument: FILE or FILE:ARGUMENTS. Where there is no such file, `configs/pretrain.py`, `pretrain.py`
            and `pretrain` all mean the `pretrain` of this package.

    Raises:
        UserError: if neither is there.
    """
    file, *arguments = argument.split(":", 1)
    if not os.path.isfile(file):
        shipped = {path.stem: str(path) for path in CONFIGS.glob("*.py")}
        name = file.removeprefix("configs/").removesuffix(".py")
        names = ", ".join(sorted(shipped.keys() - {"__init__", "base", "sizes"}))
        _require(name in shipped, f"--config={file} is no file, nor one of this package: {names}")
        file = shipped[name]
    return ":".join([file, *arguments])


def _unknown_key(argv: Sequence[str]) -> str:
    """A sentence about the first `--config.KEY` that no config declares; "" if there is none."""
    for arg in argv:
        if arg.startswith("--config."):
            complaint = config_dict.unknown_key(arg.removeprefix("--config.").partition("=")[0])
            if complaint:
                return complaint
    return ""


def _last_line(text: str) -> str:
    """The last line of a message that may carry a traceback, without the exception's name."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rpartition("UserError: ")[2] if lines else text


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise UserError(message)


def _die(message: str, code: int = EXIT_USER_ERROR) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    if hosts.is_joined():
        hosts.exit_with_peers(code, message)
    sys.exit(code)
