"""The two exceptions that end a program with one sentence; `runtime/cli.py` gives them their exit codes."""


class UserError(ValueError):
    """Bad input from the user: a config key, a file, a flag.

    The message is one sentence that names the key or file, the value found and what would be valid.
    Entry points print it without a traceback and exit with code 2 (see `runtime/cli.py`).
    """


class MachineError(RuntimeError):
    """The machine failed: a full disk, a dead input process.

    The message is one sentence that names what failed, why, and what is saved. Entry points print it
    without a traceback and exit with code 1.
    """


def reason(error: BaseException) -> str:
    """The gist of an exception: its first line; of a long one the beginning and, with the cause, the end."""
    text = next(iter(str(error).splitlines()), "")
    text = text if len(text) <= 200 else f"{text[:80]} ... {text[-120:]}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
