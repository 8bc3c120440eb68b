"""When are two answers equal? Three-valued: yes, no, or unknown without algebra.

The same code runs in the calling process, with no algebra, and in a worker, with it. The rules are
in docs/verifiers.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pgbench.verify.forms import Node, has_variables, is_name, named
from pgbench.verify.normal import key
from pgbench.verify.numbers import equal, rounds, whole
from pgbench.verify.numbers import quantity as to_number

Verdict = bool | None  # None: only algebra can tell


def unknown(gold: str, answer: str) -> Verdict:
    """The algebra of a process that has none."""
    return None


def _all(verdicts: list[Verdict]) -> Verdict:
    if any(verdict is False for verdict in verdicts):
        return False
    return None if any(verdict is None for verdict in verdicts) else True


@dataclass(frozen=True)
class Comparison:
    """How answers are compared.

    expressions: equality of two expressions; relations: of two equations or inequalities, given
    as (left, operator, right); rounding: whether a decimal is a rounding of an expression.
    """

    lenient: bool = False
    expressions: Callable[[str, str], Verdict] = unknown
    relations: Callable[[tuple[str, str, str], tuple[str, str, str]], Verdict] = (
        lambda gold, answer: None
    )
    rounding: Callable[[str, str], Verdict] = unknown

    def same(self, gold: Node, answer: Node) -> Verdict:
        """Whether the answer equals the gold answer."""
        if key(gold.text) == key(answer.text) and gold.kind == answer.kind == "leaf":
            return True
        if gold.kind == "chain":
            return self._to_equation(gold, answer)
        if answer.kind == "chain":
            return self._chain(gold, answer)
        if gold.name and answer.name and gold.name != answer.name and not self.lenient:
            return False
        if self.lenient:
            gold, answer = self._alike(gold, answer)
        if gold.kind == "list" and answer.kind == "number":
            answer = _as_list(answer)
        if answer.kind == "list" and gold.kind not in ("list", "seq", "matrix", "union"):
            # `0.5 or 1/2` states one value twice; `3 or 4` is a guess.
            return _all([self.same(gold, item) for item in answer.items])
        kinds = {gold.kind, answer.kind}
        if kinds <= {"number", "word", "leaf", "based"}:
            return self._leaves(gold, answer)
        if gold.kind != answer.kind:
            return False
        if gold.kind in ("list", "union"):
            return self._unordered(gold.items, answer.items)
        if gold.kind == "seq" and gold.brackets != answer.brackets:
            return False
        if len(gold.items) != len(answer.items):
            return False
        return _all([self.same(g, a) for g, a in zip(gold.items, answer.items, strict=True)])

    def _alike(self, gold: Node, answer: Node) -> tuple[Node, Node]:
        """Lenient: a list or a column may stand for a tuple."""
        flat = [_flat(node) for node in (gold, answer)]
        if "seq" in (gold.kind, answer.kind) and gold.kind != answer.kind:
            tuple_ = gold if gold.kind == "seq" else answer
            if all(part is not None for part in flat) and tuple_.brackets == "()":
                both = [Node("seq", node.text, part or (), "()") for node, part in
                        zip((gold, answer), flat, strict=True)]  # fmt: skip
                return both[0], both[1]
        return gold, answer

    def _leaves(self, gold: Node, answer: Node) -> Verdict:
        if gold.number and answer.number:
            return equal(gold.number, answer.number, self.lenient)
        if "based" in (gold.kind, answer.kind):
            return self._based(gold, answer)
        if "word" in (gold.kind, answer.kind):
            return _words(gold.text) == _words(answer.text)
        for one, other in ((gold, answer), (answer, gold)):
            if one.number and len(other.text) == 1 and other.text.isalpha():
                return False
        if gold.unit and answer.unit and gold.unit != answer.unit and not self.lenient:
            return False
        units = (
            gold.unit or (gold.number.unit if gold.number else None),
            answer.unit or (answer.number.unit if answer.number else None),
        )
        if all(units) and units[0] != units[1] and not self.lenient:
            return False
        if "%" in units and units[0] != units[1]:
            return False
        verdict = self.expressions(gold.text, answer.text)
        if self.lenient and verdict is not True:
            return self._rounded(gold, answer, verdict)
        return verdict

    def _rounded(self, gold: Node, answer: Node, verdict: Verdict) -> Verdict:
        """Lenient: a decimal of three digits may stand for what it rounds."""
        for exact, written in ((gold, answer), (answer, gold)):
            decimal = written.number
            if decimal and decimal.decimals and decimal.digits >= 3 and not exact.number:
                found = self.rounding(exact.text, written.text)
                if found is not False:
                    return found
        return verdict

    def _based(self, gold: Node, answer: Node) -> Verdict:
        if gold.kind == answer.kind:
            return key(gold.text.replace("{", "").replace("}", "")).replace(" ", "") == key(
                answer.text.replace("{", "").replace("}", "")
            ).replace(" ", "")
        if self.lenient and gold.kind == "based":
            return gold.text.split("_")[0].strip() == answer.text.strip()
        return False

    def _unordered(self, gold: tuple[Node, ...], answer: tuple[Node, ...]) -> Verdict:
        if len(gold) != len(answer):
            return False
        left = list(answer)
        verdict: Verdict = True
        waiting = []
        for item in gold:
            found = next((other for other in left if self.same(item, other) is True), None)
            if found is None:
                waiting.append(item)
            else:
                left.remove(found)
        for item in waiting:
            if all(self.same(item, other) is False for other in left):
                return False
            verdict = None
        return verdict

    def _chain(self, gold: Node, answer: Node) -> Verdict:
        """The answer is `name = value` or `a = b = value`: every value must equal the gold."""
        if any(op not in ("=", "~") for op in answer.ops):
            return False
        if "~" in answer.ops:
            return self._approximate(gold, answer)
        members = list(answer.items)
        if self._names(gold, members[0]):
            members = members[1:]
        elif is_name(members[-1].text):
            members = members[:-1]
        return _all([self.same(gold, member) for member in members])

    def _names(self, gold: Node, member: Node) -> bool:
        """Whether a member of a chain is only a name for the value that the others give."""
        if is_name(member.text):
            return True
        if has_variables(gold.text) or not has_variables(member.text):
            return False
        # `x + y = 5` names what was asked for; `6x = 5` need not. Lenient lets it pass.
        return self.lenient or not any(char.isdigit() for char in member.text)

    def _approximate(self, gold: Node, answer: Node) -> Verdict:
        """`x = exact ~ decimal`: the exact value counts, or the decimal if the gold is one.

        Whatever follows an approximation sign must be a rounding of what stands before it: an
        approximation is not equal, and a false one makes the statement false.
        """
        first = answer.ops.index("~") + 1
        if any(op != "~" for op in answer.ops[first:]):
            return False
        written = list(answer.items[first:])
        exact = [item for item in answer.items[:first] if not self._names(gold, item)]
        if not exact:
            # `x ~ 1.41` states no more than 1.41.
            exact, written = written[:1], written[1:]
        right = _all([self.same(gold, item) for item in exact])
        if right is False and gold.number and gold.number.decimals is not None and written:
            right = self.same(gold, written[-1])
        rounded = [self._rounds(item, decimal) for item in exact for decimal in written]
        return _all([right, *rounded])

    def _rounds(self, exact: Node, written: Node) -> Verdict:
        """Whether a number is a rounding of a value."""
        if written.number is None:
            return False
        if exact.number:
            return rounds(exact.number.value, whole(written.number), 1)
        return self.rounding(exact.text, written.text)

    def _to_equation(self, gold: Node, answer: Node) -> Verdict:
        name = named(gold)
        if name is not None and answer.kind != "chain":
            return self.same(gold.items[1], answer)
        if answer.kind != "chain":
            return False
        if key(gold.text) == key(answer.text):
            return True
        swapped = _swapped(answer)
        other = named(swapped)
        if name is not None and other is not None:
            if name == other:
                return self.same(gold.items[1], swapped.items[1])
            if self.lenient:
                value = self.same(gold.items[1], swapped.items[1])
                if value is not False:
                    return value
        if name is not None and len(answer.items) > 2 and "~" not in answer.ops:
            if key(answer.items[0].text) != name:
                return False
            return self._chain(gold.items[1], answer)
        if len(gold.items) != 2 or len(answer.items) != 2:
            return False
        g, a = (
            (node.items[0].text, node.ops[0], node.items[1].text) for node in (gold, answer)
        )  # fmt: skip
        return self.relations(g, a)


def _swapped(node: Node) -> Node:
    """`5 = x` as `x = 5`."""
    if node.ops == ("=",) and not is_name(node.items[0].text) and is_name(node.items[1].text):
        return Node("chain", node.text, node.items[::-1], ops=node.ops)
    return node


def _as_list(answer: Node) -> Node:
    """`1,234` beside a list is a list: the comma of a thousand is also a comma."""
    parts = answer.text.split(",")
    numbers = [to_number(part) for part in parts]
    if len(parts) < 2 or any(number is None for number in numbers):
        return answer
    items = zip(parts, numbers, strict=True)
    return Node("list", answer.text, tuple(Node("number", t, number=n) for t, n in items))


def _flat(node: Node) -> tuple[Node, ...] | None:
    """The values of a tuple, a list, or a matrix of one row or column."""
    if node.kind == "seq" or (node.kind == "list" and node.brackets != "{}"):
        values = node.items
    elif node.kind == "matrix" and (
        len(node.items) == 1 or all(len(r.items) == 1 for r in node.items)
    ):
        values = tuple(item for row in node.items for item in row.items)
    else:
        return None
    return tuple(item.items[1] if named(item) else item for item in values)


def _words(text: str) -> str:
    words = text.replace("’", "'").replace("-", " ").rstrip(".").casefold().split()
    if len(words) == 1:  # a lone A is a choice, no article
        return words[0]
    return " ".join(word for word in words if word not in ("the", "a", "an"))
