"""The one exception that users see as a single line."""


class PgbenchError(Exception):
    """Bad input or an unusable state; the message says what is wrong and what to do next.

    The command line prints it as one line and exits with code 2 (a traceback only with `--debug`).
    """


class Misuse(PgbenchError, ValueError):
    """Actions, seeds or reset options that an environment does not take."""
