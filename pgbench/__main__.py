"""`pgbench` and `python -m pgbench`: one clear line and exit code 2 for bad input."""

from __future__ import annotations

import re
import sys

from pgbench.support.reporting import report_errors, say


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
            say(f"{text[:1].lower()}{text[1:].rstrip('.')} (see {where} --help)")
        raise SystemExit(2) from None
    if isinstance(code, int):  # `typer.Exit`
        raise SystemExit(code)


if __name__ == "__main__":
    main()
