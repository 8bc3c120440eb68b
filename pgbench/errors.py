"""The exceptions that users see as a single line, and the advice that they give."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def install(extra: str) -> str:
    """The command that adds an optional extra to this pgbench.

    pgbench is on no package index: a checkout is named by its folder.
    """
    if not (ROOT / "pyproject.toml").is_file():
        return f"pip install 'pgbench[{extra}]'"
    return f'pip install -e "{"." if Path.cwd() == ROOT else ROOT}[{extra}]"'


class PgbenchError(Exception):
    """Bad input or an unusable state; the message says what is wrong and what to do next.

    The command line prints it as one line and exits with code 2 (a traceback only with `--debug`).
    """


class Diverged(PgbenchError):
    """A number that is not finite, or none that float32 can square; a run ends as diverged."""


class Breach(PgbenchError):
    """An algorithm or an environment that is not what docs/plugins.md asks; a run ends failed."""


class Misuse(PgbenchError, ValueError):
    """Actions, seeds or reset options that an environment does not take."""
