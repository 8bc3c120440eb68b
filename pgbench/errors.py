"""The exceptions that users see as a single line."""


class PgbenchError(Exception):
    """Bad input or an unusable state; the message says what is wrong and what to do next.

    The command line prints it as one line and exits with code 2 (a traceback only with `--debug`).
    """


class Diverged(PgbenchError):
    """A number that is not finite, or none that float32 can square; a run ends as diverged."""


class Breach(PgbenchError):
    """An algorithm or an environment that is not what docs/contract.md asks; a run ends failed."""


class Misuse(PgbenchError, ValueError):
    """Actions, seeds or reset options that an environment does not take."""
