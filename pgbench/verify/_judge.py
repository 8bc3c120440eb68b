"""Inside a sandbox of its own: runs the tests over stand-ins for the submission's functions.

The tests are ours, the submission is not. It runs in another process, in other namespaces; what
comes back from a call is plain data, so a forged `__eq__` or a patched builtin stays where it is.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import json
import sys
from typing import Any, NamedTuple

from pgbench.verify import _plain
from pgbench.verify._shared import Shared


class Stop(BaseException):
    """The submission cannot answer any more; no `except Exception` of a test holds it."""


class Channel:
    """Questions to the submission. `failed` stays set whatever the tests catch."""

    def __init__(self, line: Any, limit: int) -> None:
        self.line, self.limit, self.failed = line, limit, ""
        self.shared, self.remotes = Shared(0), dict[int, Remote]()

    def fail(self, how: str) -> Stop:
        """What to raise when the case is over for the reason `how`."""
        self.failed = self.failed or how
        return Stop(how)

    def _remote(self, number: int, own: bool) -> Remote:
        """What stands for an object of the submission: one object for one."""
        if number not in self.remotes:
            self.remotes[number] = Remote(self, number, own)
        return self.remotes[number]

    def receive(self) -> tuple[Any, ...]:
        """The submission's next message. Raises: Stop."""
        try:
            data = _plain.receive_frame(self.line, self.limit + 1024)
            reply = _plain.Decoder(data, self._remote, self.shared).value()
        except _plain.TooLarge:
            raise self.fail("output") from None
        except (EOFError, OSError):
            raise self.fail("gone") from None
        except _plain.Malformed:
            raise self.fail("error") from None
        if type(reply) is not tuple or not reply or type(reply[0]) is not str:
            raise self.fail("error")
        return reply

    def ask(self, *message: object) -> Any:
        """One question, its answer. Raises: Stop; what the submission raised, as a built-in."""
        if self.failed:
            raise Stop(self.failed)
        try:
            gone = self.shared.unused()
            frame = _plain.encode(message, _number, shared=self.shared, gone=gone)
        except (_plain.Unsendable, _plain.TooLarge):
            raise self.fail("unsupported") from None
        try:
            _plain.send_frame(self.line, frame)
        except OSError:
            raise self.fail("gone") from None
        match self.receive():
            case ("ok", value):
                return value
            case ("large",):
                raise self.fail("output")
            case ("unsendable",):
                raise self.fail("unsupported")
            case ("raise", [*names], str(text)) if all(type(name) is str for name in names):
                raise self._raised(names, text)
        raise self.fail("error")

    def _raised(self, names: list[str], text: str) -> BaseException:
        if "SystemExit" in names:
            return self.fail("exit")
        if "MemoryError" in names:
            return self.fail("memory")
        for name in names:
            kind = getattr(builtins, name, None)
            if isinstance(kind, type) and issubclass(kind, Exception):
                try:
                    error = kind(text)
                except TypeError:  # such as UnicodeDecodeError, which wants five arguments
                    continue
                break
        else:
            error = Exception(text)
        error.__dict__["of_the_submission"] = (names[0], text)
        return error


def _number(thing: object) -> int:
    """The number of a stand-in. Raises: Unsendable for all else."""
    if type(thing) is not Remote:
        raise _plain.Unsendable(f"a {type(thing).__name__} is not plain data")
    return thing._number


class Remote:
    """An object that stays with the submission, answers to its questions in plain data.

    It equals itself, and nothing else if its class has no `==` of its own. If it has one (or other
    operators), nobody here can say what they give: the submission's word would decide its own
    test. Such a comparison is `unsupported`.
    """

    __slots__ = ("_channel", "_number", "_own")
    _channel: Channel
    _number: int
    _own: bool

    def __init__(self, channel: Channel, number: int, own: bool) -> None:
        object.__setattr__(self, "_channel", channel)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_own", own)

    def __eq__(self, other: object) -> Any:
        return True if self is other else self._by_its_own_rule(other)

    def __hash__(self) -> int:
        if self._own:
            raise self._channel.fail("unsupported")
        return id(self)

    def _by_its_own_rule(self, other: object = None, *_: object) -> Any:
        if self._own or (type(other) is Remote and other._own):
            raise self._channel.fail("unsupported")
        return NotImplemented

    __lt__ = __le__ = __gt__ = __ge__ = _by_its_own_rule
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = _by_its_own_rule
    __truediv__ = __rtruediv__ = __floordiv__ = __mod__ = __divmod__ = __pow__ = _by_its_own_rule
    __and__ = __or__ = __xor__ = __lshift__ = __rshift__ = _by_its_own_rule

    def _of_one(self, *_: object) -> Any:
        if self._own:
            raise self._channel.fail("unsupported")
        raise TypeError("bad operand type")

    __neg__ = __pos__ = __abs__ = __invert__ = __int__ = __float__ = __round__ = _of_one

    def __instancecheck__(self, thing: object) -> bool:
        if type(thing) is not Remote:  # it may have been of a subclass of what it is here
            raise self._channel.fail("unsupported")
        return bool(self._channel.ask("instance", thing, self) is True)

    def __next__(self) -> Any:
        return self._channel.ask("next", self)

    def __call__(self, *arguments: object, **named: object) -> Any:
        return self._channel.ask("call", self, arguments, named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # a protocol that no plain answer could follow
            raise AttributeError(name)
        return self._channel.ask("get", self, name)

    def __setattr__(self, name: str, value: object) -> None:
        self._channel.ask("set", self, name, value)

    def _typed(self, word: str, kind: type, *rest: object) -> Any:
        value = self._channel.ask(word, self, *rest)
        if type(value) is not kind:
            raise TypeError(f"{word}() gave no {kind.__name__}")
        return value

    def __bool__(self) -> bool:
        return bool(self._typed("bool", bool))

    def __len__(self) -> int:
        return int(self._typed("len", int))

    def __iter__(self) -> Any:
        return iter(self._typed("list", list))

    def __getitem__(self, key: object) -> Any:
        return self._channel.ask("item", self, key)

    def __str__(self) -> str:
        return str(self._typed("str", str))

    def __repr__(self) -> str:
        return str(self._typed("repr", str))


class Tally:
    """Counts what the asserts of a test say; the tests know it as `__tally__`."""

    def __init__(self) -> None:
        self.passed = self.ran = 0
        self.first: dict[str, Any] = {}

    def record(self, outcome: object) -> None:
        """One assert's condition."""
        good = bool(outcome)
        self.ran += 1
        self.passed += good
        if not good:
            self._failed({"how": "wrong answer"})

    def raised(self) -> None:
        """An assert whose condition could not be computed."""
        self.ran += 1
        self.note_error(sys.exc_info()[1])

    def note_error(self, error: BaseException | None) -> None:
        """An error of the submission, or of a comparison with what it returned."""
        name, text = getattr(error, "of_the_submission", (type(error).__name__, ""))
        self._failed({"how": "error", "error": name, "text": text})

    def _failed(self, what: dict[str, Any]) -> None:
        self.first = self.first or {**what, "test": max(self.ran, 1)}


class _Counted(ast.NodeTransformer):
    """Turns every assert into one that is counted and lets the next one run.

    Asserts inside `try` stay as they are: there an AssertionError may be meant to be caught.
    """

    def __init__(self) -> None:
        self.counted = self.plain = 0

    def visit_Try(self, node: ast.Try) -> ast.AST:
        self.plain += sum(isinstance(inner, ast.Assert) for inner in ast.walk(node))
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        if isinstance(node.test, ast.Constant):
            if node.test.value:
                return ast.copy_location(ast.Pass(), node)  # `assert True` tests nothing
        else:
            self.counted += 1
        template = "try:\n __tally__.record(0)\nexcept Exception:\n __tally__.raised()"
        wrapped = ast.parse(template).body[0]
        assert isinstance(wrapped, ast.Try)
        call = wrapped.body[0]
        assert isinstance(call, ast.Expr) and isinstance(call.value, ast.Call)
        call.value.args = [node.test]
        for inner in ast.walk(wrapped):
            if not hasattr(inner, "lineno"):
                ast.copy_location(inner, node)
        return ast.fix_missing_locations(wrapped)


def wanted_names(tree: ast.AST, entry: str) -> tuple[set[str], set[str]]:
    """(names the tests want of the submission, modules they use without importing them).

    A builtin's name means the builtin, or a submission could replace `set` or `sorted` under the
    tests; only where nothing else is asked for (MBPP 126 tests a function called `sum`) it is what
    the asserts call first.
    """
    bound, loaded, based, first = set[str](), set[str](), set[str](), set[str]()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                loaded.add(name)
            case ast.Name(id=name) | ast.arg(arg=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.alias(name=name, asname=other):
                bound.add(other or name.partition(".")[0])
            case ast.Assert(test=ast.Compare(left=ast.Call(func=ast.Name(id=name)))):
                first.add(name)
    uses = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
    based = {n.value.id for n in uses if isinstance(n.value, ast.Name)}
    called = {
        n.func.id
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    free = loaded - bound - {entry}
    modules = {name for name in free & based - called if name in sys.stdlib_module_names}
    wanted = {name for name in free - modules if not hasattr(builtins, name)}
    if not wanted and not entry:
        wanted = first - bound
    return wanted, modules


class Parsed(NamedTuple):
    """A problem's tests, ready to run."""

    setup: Any
    tests: Any
    wanted: set[str]  # names of the submission
    modules: set[str]
    counted: int  # asserts that are counted
    plain: int  # asserts inside `try`


def parsed(problem: dict[str, Any]) -> Parsed | str:
    """The tests of a problem, or why they are of no use. Runs nothing."""
    counted = _Counted()
    try:
        setup = ast.parse(problem["setup"], "setup")
        tests = ast.parse(problem["tests"], "tests")
        entry = problem["entry"].partition("|")[0]
        wanted, modules = wanted_names(ast.Module([*setup.body, *tests.body], []), entry)
        program = compile(counted.visit(tests), "tests", "exec")
        first = compile(setup, "setup", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    if not counted.counted and not counted.plain:
        return "they assert nothing"
    if not wanted and not entry:
        return "they ask nothing of the code"
    return Parsed(first, program, wanted, modules, counted.counted, counted.plain)


def judge(problem: dict[str, str], line: Any, limit: int) -> dict[str, Any]:
    """Run a problem's tests; the findings as plain JSON. `how` is "tests" for tests of no use."""
    tally, channel = Tally(), Channel(line, limit)
    use = parsed(problem)
    if isinstance(use, str):
        return {"how": "tests", "text": use}
    done = False
    try:
        done = _load(channel, tally) and _run(problem["entry"], use, channel, tally)
    except Stop:
        pass
    except BaseException as error:
        tally.note_error(error)
    total = max(use.counted, tally.ran, 1)
    good = done and not tally.first and not channel.failed and (tally.ran or not use.counted)
    found = tally.first or {"how": "wrong answer", "test": max(tally.ran, 1)}
    if channel.failed:
        found = {**found, "how": channel.failed}
    if good:
        return {"passed": True, "total": total}
    return {**found, "good": min(tally.passed, total - 1), "total": total}


def _load(channel: Channel, tally: Tally) -> bool:
    match channel.receive():
        case ("loaded",):
            return True
        case ("syntax" as how, [str(name), *_], str(text)):
            pass
        case ("raise", [str(name), *_], str(text)):
            kinds = {"MemoryError": "memory", "SystemExit": "exit"}
            how = kinds.get(name, "error")
        case _:
            how, name, text = "error", "", ""
    tally.first = {"how": how, "error": name, "text": text, "test": 0}
    return False


def _run(ways: str, use: Parsed, channel: Channel, tally: Tally) -> bool:
    names: dict[str, Any] = {"__name__": "tests", "__tally__": tally}
    for name in sorted(use.modules):
        names[name] = importlib.import_module(name)
    for name in sorted(use.wanted):
        with contextlib.suppress(KeyError):
            names[name] = channel.ask("name", name)
    entry, candidate = ways.partition("|")[0], None
    if entry:
        try:
            candidate = names[entry] = _entry(ways, channel)
        except (KeyError, AttributeError):
            tally.first = {"how": "error", "error": "NameError", "text": entry, "test": 0}
            return False
    try:
        exec(use.setup, names)
    except Exception as error:
        if not hasattr(error, "of_the_submission"):
            raise channel.fail("unsupported") from None  # no fault of the code
        raise
    if entry:
        names[entry] = candidate  # the setup may hold a stub of it, as HumanEval's prompts do
    exec(use.tests, names)
    if entry and callable(names.get("check")):
        names["check"](candidate)
    return True


def _entry(ways: str, channel: Channel) -> Any:
    """What the first of the ways finds that finds anything. Raises: KeyError; AttributeError."""
    for way in ways.split("|"):
        name, _, method = way.partition(".")
        with contextlib.suppress(KeyError):
            thing = channel.ask("name", name)
            return getattr(channel.ask("call", thing, (), {}), method) if method else thing
    raise KeyError(ways)


def report(found: dict[str, Any]) -> bytes:
    """The findings as one line."""
    return json.dumps(found).encode() + b"\n"
