"""Finds the program in what a model wrote."""

from __future__ import annotations

import ast

MAX_GUESS = 1 << 16  # characters of a completion without a fence that are tried as Python


def extract_code(completion: str) -> str | None:
    """The last fenced Python block of a completion, or all of it if it parses, or None.

    A block marked as Python goes before an unmarked one; a last fence left open runs to the end.
    """
    blocks: list[tuple[str, str]] = []
    fence, tag, lines = "", "", list[str]()
    for line in completion.splitlines():
        text = line.strip()
        mark = text[: len(text) - len(text.lstrip("`"))]
        if not fence and len(mark) >= 3 and "`" not in text[len(mark) :]:
            fence, tag, lines = mark, text[len(mark) :].strip().split(" ")[0].lower(), []
        elif fence and text == mark and len(mark) >= len(fence):
            blocks.append((tag, "\n".join(lines)))
            fence = ""
        elif fence:
            lines.append(line)
    if fence:
        blocks.append((tag, "\n".join(lines)))
    for tags in (("python", "py", "python3"), ("",)):
        for tag, block in reversed(blocks):
            if tag in tags and block.strip():
                return block
    if blocks or not completion.strip() or len(completion) > MAX_GUESS:
        return None
    try:
        ast.parse(completion)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return completion
