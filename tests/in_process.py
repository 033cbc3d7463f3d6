"""A program in this process: what a refused flag says needs no start of Python and JAX."""

import contextlib
import io
import os
import runpy
import sys
import warnings
from typing import NamedTuple
from unittest import mock

from absl import app, flags, logging

from tests.conftest import REPOSITORY

app.define_help_flags()  # absl defines its own flags once in a process; they are not a program's


class Ended(NamedTuple):
    """How a program ended; named as in `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def run_in_process(module: str, *args: str) -> Ended:
    """Runs `python -m module args` in the repository, as far as one process can do so.

    For what ends before a device, a signal handler or another process is touched: a wrong flag, `--help`,
    `--print_config`.
    """
    known = set(flags.FLAGS)
    verbosity, filters = logging.get_verbosity(), logging.get_absl_logger().filters[:]
    # A module that is imported already may not be run: Python warns. It comes back afterwards.
    imported = {
        name: sys.modules.pop(name)
        for name in (module, f"{module}.__main__")
        if name in sys.modules and not hasattr(sys.modules[name], "__path__")
    }
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        warnings.catch_warnings(action="ignore"),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(REPOSITORY),
        mock.patch.object(sys, "argv", [module, *args]),
        mock.patch.dict(os.environ),
    ):
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
        finally:
            sys.modules.update(imported)
            for name in set(flags.FLAGS) - known:
                delattr(flags.FLAGS, name)
            flags.FLAGS.unparse_flags()
            logging.set_verbosity(verbosity)
            logging.get_absl_logger().filters[:] = filters
    return Ended(code if isinstance(code, int) else int(code is not None), out.getvalue(), err.getvalue())
