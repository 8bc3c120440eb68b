"""`pgbench` and `python -m pgbench`: one clear line and exit code 2 for bad input."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable


def main() -> None:
    """Run the command line and exit with its code (0; 1 a run failed; 2 bad input; 130 stopped)."""
    report_errors(_command_line)


def _command_line(words: list[str]) -> None:
    """Run one command; what it was called with wrongly is one line and exit code 2."""
    from pgbench.cli import app

    try:
        code = app(args=words, prog_name="pgbench", standalone_mode=False)
    except Exception as error:
        # Usage errors, by what they offer: typer brings a click of its own, or another's.
        if not hasattr(error, "format_message"):
            if type(error).__name__ == "Abort":
                raise KeyboardInterrupt from None
            raise
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError":
            print(context.get_help() if context else error, file=sys.stderr)
        else:
            where = context.command_path if context else "pgbench"
            # click and typer may both say what was meant
            text = re.sub(r"( Did you mean [^?]*\?)\1+", r"\1", error.format_message())
            _say(f"{text[:1].lower()}{text[1:].rstrip('.')} (see {where} --help)")
        raise SystemExit(2) from None
    if isinstance(code, int):  # `typer.Exit`
        raise SystemExit(code)


def report_errors(program: Callable[[list[str]], object]) -> None:
    """Call `program` with the command line's words; errors become one line and an exit code."""
    from pgbench.errors import PgbenchError

    debug = "--debug" in sys.argv
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    try:
        program(arguments)
    except PgbenchError as error:
        if debug:
            raise
        _say(str(error))
        raise SystemExit(2) from None
    except BrokenPipeError:  # the reader left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        if debug:
            raise
        _say("stopped")
        raise SystemExit(130) from None
    except OSError as error:
        if debug:
            raise
        _say(f"{error.filename or 'file'}: {error.strerror or error}")
        raise SystemExit(2) from None
    except Exception as error:
        if debug:
            raise
        _say(f"unexpected {type(error).__name__}: {error} (--debug shows where)")
        raise SystemExit(1) from None


def _say(text: str) -> None:
    print("pgbench: " + " ".join(text.split()), file=sys.stderr)


if __name__ == "__main__":
    main()
