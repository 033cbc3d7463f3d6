"""The one exception for what a user can mend."""


class UserError(ValueError):
    """Bad input from the user: a config key, a file, a flag.

    The message is one sentence that names the key or file, the value found and what would be valid.
    Entry points print it without a traceback and exit with code 2 (see `core/cli.py`).
    """
