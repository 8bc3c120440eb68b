"""Finding the final answer in a completion.

A completion states its answer in `\\boxed{}`, after `####`, in `<answer>` tags or in words ("the
answer is"); the first of these kinds that occurs is the one that counts.
"""

from __future__ import annotations

import itertools
import re

from pgbench.verify.normal import clean, key
from pgbench.verify.numbers import quantity, unit

TAIL = 20_000  # characters at the end of a completion in which an answer is looked for
LONGEST = 1000  # characters of a statement that are kept; longer ones are refused as answers
MAX_STATEMENTS = 8

_HASHES = re.compile(r"####[ \t]*([^\n]+)")
_PHRASE = re.compile(
    r"\banswer\b(?:[ \t]+(?:to|of|for|here)\b[^.\n:=]{0,80}?)?[ \t*]*+"
    r"(?::|=|\b(?:is|are|equals|will be|would be|must be)\b)[\s:=*]*+(?:is\b[ \t:]*+)?(?!not\b)"
    r"|(?:答案|答え|答)(?:应该|應該)?(?:是|为|為|は|等于)?[ \t]*"
    r"(?:[:：=][ \t]*|(?<=[是为為は于]))(?!不)"
    r"|\b(?:respuesta(?: final)? es|réponse(?: finale)? est|antwort (?:ist|lautet)"
    r"|resposta é|risposta è|ответ(?:\s*[:—-]|\s+равен))(?:\s*:)?\s*"
    r"(?!n(?:icht|o|ão|on)\b|pas\b|не\b)",
    re.I,
)
_DISPLAY = re.compile(r"(?:\\\[|\$\$)(.*?)(?:\\\]|\$\$)", re.S)
_LENGTH = re.compile(
    r"(?:\.(?=\s|$)|。|[，,]?(?:因为|因為|所以)|"
    r"(?<=\s)(?:because|since|which|where|so|as)\s|[!?](?=\s*$))"
)
# Words after which a number is not what a text concludes.
_DENIED = re.compile(
    r"\b(?:not|never|neither|nor|cannot|isn|wasn|aren|wrong|incorrect|false|except|unlike|than)\b"
    r"|n['’]t\b|\binstead of\b|\bfar from\b|\banything but\b|\bruled? out\b|\\neq?(?![A-Za-z])"
    r"|≠|!=|不|错|错误|\bне\b|\bnicht\b",
    re.I,
)
_TAKEN_BACK = re.compile(
    r"[.!?。\s]*(?:no\b|wrong|(?:but )?(?:this|that|it|which)(?: is| was|['’]s) "
    r"(?:not|wrong|incorrect|false))",
    re.I,
)
_CLAIM = re.compile(r"\b(?:is|are|it's|equals|be|but)\b|=", re.I)
_ENDS = re.compile(r"[.!?](?=\s|$)|[。！？\n]")
_REMARK = re.compile(r"^(.*?\S)\s*,\s*([a-z]+(?: [a-z]+){0,8})$", re.S)
_CONTRAST = re.compile(r"^(.*?\S)\s*,\s*(?:and )?not\s.*$", re.S)
_JOINT = re.compile(r"^(?:[\s$.,;&]|\\[()\[\],;: ]|\\text\s*\{|\}|\\q?quad|and|or)*$")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(?=[^\s{]))")
_NUMBER = re.compile(
    r"-?[$€£]?-?(?:\\frac\{-?\d+\}\{\d+\}|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+/\d+|\d*\.\d+|\d+)%?"
)
_SENTENCE = re.compile(r"[^\W\d_]{2,} [^\W\d_]{2,}|[\u4e00-\u9fff]{8,}")


def gsm8k_gold(answer: str) -> str:
    """The final answer of a GSM8K row: `... #### 1,080` -> `1,080`; "" if it has none."""
    found = _HASHES.findall(answer)
    return found[-1].strip() if found else ""


def boxed(text: str, unclosed: bool = False) -> list[tuple[int, int, str]]:
    """Start, end and content of every `\\boxed{}` that is not inside another.

    A box that the text ends in, without its closing brace, counts with `unclosed`.
    """
    out = []
    at = 0
    while found := _BOX.search(text, at):
        start, at = found.start(), found.end()
        if not found[0].endswith("{"):
            # TeX boxes one token where there is no brace.
            token = re.match(r"\\[A-Za-z]+|[0-9.]+|.", text[at:])
            out.append((start, at + token.end(), token[0]) if token else (start, at, ""))
            continue
        depth, end = 1, at
        while end < len(text) and depth:
            char = text[end]
            if char == "\\":
                end += 1
            depth += (char == "{") - (char == "}")
            end += 1
        if depth == 0:
            out.append((start, end, text[at : end - 1]))
            at = end
        elif unclosed:
            out.append((start, len(text), text[at:]))
            break
        else:
            break
    return [(start, end, inside.strip()) for start, end, inside in out if inside.strip()]


def _boxes(text: str, lenient: bool) -> list[str]:
    """Statements in boxes; neighbours joined by no more than `and`, `or`, a comma are one list."""
    out: list[str] = []
    last = None
    for start, end, inside in boxed(text, lenient):
        if last is not None and _JOINT.match(text[last:start]) and start - last < 40:
            if key(clean(inside[:LONGEST])) != key(clean(out[-1][:LONGEST])):
                out[-1] += ", " + inside
        else:
            out.append(inside)
        last = end
    return out


def _tagged(text: str) -> list[str]:
    """Contents of `<answer>` tags."""
    out = []
    at = text.find("<answer>")
    while at >= 0 and (end := text.find("</answer>", at)) >= 0:
        out.append(text[at + len("<answer>") : end].strip())
        at = text.find("<answer>", end)
    return out


def _said(text: str) -> list[str]:
    """What follows "the answer is", each up to the end of its sentence."""
    out = []
    heads = list(_PHRASE.finditer(text))
    for head, after in itertools.zip_longest(heads, heads[1:]):
        line = text[head.end() : head.end() + LONGEST + 1]
        display = _DISPLAY.match(line)
        line = display[1].replace("\n", " ") if display else line.split("\n")[0]
        stop = _LENGTH.search(line)
        end = stop.start() if stop else len(line)
        # "Final answer: the answer is 5" is one statement.
        if after is None or after.start() >= head.end() + end:
            out.append(_bare(line[:end].strip().strip("*").strip()))
    # "The answer is what remains of the cake" is reasoning if an answer follows.
    return [one for one in out if not _prose(one)] or out[-1:]


def _bare(said: str) -> str:
    """A number without the remark after it: `72, in total`, `72, not 73`."""
    if found := _CONTRAST.match(said):
        return found[1] if quantity(clean(found[1])) is not None else said
    if found := _REMARK.match(said):
        words = unit(found[2], True)  # a hedge, a multiple or a second answer is none
        if words is not None and not _DENIED.search(found[2]):
            return found[1] if quantity(clean(found[1])) is not None else said
    return said


def _last_number(text: str) -> list[str]:
    """The last number of a text, unless the words around it deny it: `it isn't 42`."""
    found = list(_NUMBER.finditer(text))
    if not found:
        return []
    last = found[-1]
    starts = [end.end() for end in _ENDS.finditer(text, 0, last.start())]
    stop = _ENDS.search(text, last.end())
    start, end = starts[-1] if starts else 0, stop.start() if stop else len(text)
    sentence = text[start:end]
    if _DENIED.search(sentence):
        # "It is not 41, it is 42" concludes 42: the part of it that claims something counts.
        left = re.split(r"[,;:，；]\s", text[start : last.start()])
        clause = left[-1] + text[last.start() : end]
        if _DENIED.search(clause) or len(left) < 2 or not _CLAIM.search(left[-1]):
            return []
    return [] if _TAKEN_BACK.match(text, end) else [last[0]]


def _prose(text: str) -> bool:
    """Whether a text is words rather than an answer."""
    return len(text) > LONGEST or (
        _SENTENCE.search(text) is not None and quantity(clean(text)) is None
    )


def statements(completion: str, lenient: bool = False) -> list[str]:
    """What a completion states as its final answer, in order, without repetitions.

    Reasoning in `<think>` tags does not count. More than one statement means that the completion
    names different answers.
    """
    text = completion[-TAIL:]
    closed = text.rfind("</think>")
    if closed >= 0:
        text = text[closed + len("</think>") :]
    elif "<think>" in text and not lenient:
        text = text[: text.rfind("<think>")]
    found = _boxes(text, lenient)
    found = found or [match.strip() for match in _HASHES.findall(text)]
    found = found or _tagged(text)
    found = found or _said(text)
    if not found and _alone(text):
        found = [text.strip()]
    if not found and lenient:
        found = _last_number(text)
    different: dict[str, str] = {}
    for statement in filter(None, found):
        # Repeating an answer moves it to the end: the last statement is the last one.
        short = statement[: LONGEST + 1]
        same = key(clean(short)) if len(short) <= LONGEST else short
        different.pop(same, None)
        different[same] = short
    return list(different.values())


def _alone(text: str) -> bool:
    """Whether the whole text is nothing but an answer: `42`, `x = 5`, `$\\frac{1}{2}$`."""
    text = text.strip()
    if not text or len(text) > 200 or "\n" in text or r"\boxed" in text:
        return False
    return not _prose(text)


def extract(completion: str, lenient: bool = False) -> str | None:
    """The final answer of a completion as it stands there; None if it states none."""
    found = statements(completion, lenient)
    return found[-1] if found else None


def canonical(answer: str) -> str:
    """One spelling for answers of one value, where that is a number: `0.5` and `1/2` agree."""
    if len(answer) > LONGEST:
        return answer
    text = clean(answer)
    number = quantity(text)
    return key(text) if number is None else f"{number.value} {number.unit or ''}".strip()
