"""The one place that turns an error into one line and an exit code."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable

from pgbench.errors import PgbenchError


def report_errors(program: Callable[[list[str]], object]) -> None:
    """Call `program` with the command line's words; errors become one line and an exit code.

    A warning, whoever gives it, becomes a line without path and source; `--debug` shows those.
    """
    debug = "--debug" in sys.argv
    before = warnings.formatwarning
    if not debug:
        warnings.formatwarning = lambda message, *where: f"pgbench: warning: {_line(message)}\n"
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    try:
        program(arguments)
    except PgbenchError as error:
        if debug:
            raise
        say(str(error))
        raise SystemExit(2) from None
    except BrokenPipeError:  # the reader left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        if debug:
            raise
        say("stopped")
        raise SystemExit(130) from None
    except OSError as error:
        if debug:
            raise
        say(f"{error.filename or 'file'}: {error.strerror or error}")
        raise SystemExit(2) from None
    except Exception as error:
        if debug:
            raise
        say(f"unexpected {type(error).__name__}: {error} (--debug shows where)")
        raise SystemExit(1) from None
    finally:
        warnings.formatwarning = before


def say(text: str) -> None:
    """One line on standard error."""
    print(f"pgbench: {_line(text)}", file=sys.stderr)


def _line(text: object) -> str:
    return " ".join(str(text).split())
