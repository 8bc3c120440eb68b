"""What a run is made from, besides the house: plug-ins' sources, data files, model directories.

All of it is part of a run's identity, by content: a plug-in's file and every local module that it
imports (whatever is neither Python's, nor an installed package's, nor ours; of a plug-in that is
installed, its own package), and each file or directory that a setting names. What is built in
counts by name and version: its code is the commit's, and its fingerprint is in the record.
What a plug-in opens by a name that no setting holds is not seen: make it a setting.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pgbench.catalogue.registry import AlgoSpec, EnvSpec, LoopSpec
from pgbench.errors import PgbenchError
from pgbench.settings.config import digest

HOUSE = Path(__file__).resolve().parents[1]
STDLIB = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))
INSTALLED = ("site-packages", "dist-packages")
PATHS = ("source", "path", "file", "folder", "dir", "data", "model")  # endings of settings' names
MODEL = (".json", ".safetensors", ".bin", ".txt", ".model", ".jinja", ".py")
_imported: dict[Path, str] = {}  # digests of sources, as they were when first looked at


def all_sources(algo: AlgoSpec, env: EnvSpec, loop: LoopSpec) -> list[str | None]:
    """Digests of the sources of a run's parts; of the loop only where it is a plug-in's.

    Raises: PgbenchError if a source changed since this process imported it.
    """
    found = [sources(spec) for spec in (algo, env, loop)]
    return found if found[2] else found[:2]


def sources(spec: AlgoSpec | EnvSpec | LoopSpec) -> str | None:
    """Digest of a plug-in's sources; None for what is built in.

    Raises: PgbenchError if a source changed since this process imported it.
    """
    file = Path(spec.origin.rpartition(":")[0])
    if _is_ours(file):
        return None
    if not file.is_file():  # typed into a notebook, or a terminal
        try:
            return digest(inspect.getsource(spec.entry_point))  # type: ignore[arg-type]
        except (OSError, TypeError):
            return None
    found = _closure(spec, file.resolve())
    for path, text in found.items():
        if _imported.setdefault(path, text) != text:
            raise PgbenchError(
                f"{path} has changed since this process imported it; start Python again"
            )
    if len(found) == 1:
        return digest(file.read_text(encoding="utf-8"))
    # By name, not by place: a plug-in that was moved with all that belongs to it is the same.
    return digest(sorted((path.name, text) for path, text in found.items()))


def _is_ours(file: Path) -> bool:
    parts = (HOUSE, HOUSE.parent / "envs", HOUSE.parent / "baselines")
    return any(file.resolve().is_relative_to(part) for part in parts)


def _closure(spec: AlgoSpec | EnvSpec | LoopSpec, file: Path) -> dict[Path, str]:
    """Digest of the plug-in's file and of every local module that it imports, directly or not."""
    points = [spec.entry_point, getattr(spec, "evaluator", "")]
    names = {
        point.partition(":")[0]
        if isinstance(point, str)
        else getattr(inspect.unwrap(point), "__module__", "")
        for point in points
    } - {"", "__main__"}
    own = {name.partition(".")[0] for name in names} - {"pgbench"}
    waiting = [(file, ""), *(pair for name in names for pair in _files(name, own))]
    found: dict[Path, str] = {}
    while waiting:
        path, module = waiting.pop()
        if path in found:
            continue
        data = path.read_bytes()
        found[path] = hashlib.sha256(data).hexdigest()
        if path.suffix == ".py":
            for name in _imports(data, module, path.name == "__init__.py"):
                waiting += _files(name, own)
    return found


def _imports(data: bytes, module: str, package: bool) -> Iterator[str]:
    """Absolute names of what a source imports, or may: `from a import b` gives a and a.b."""
    try:
        nodes = list(ast.walk(ast.parse(data)))
    except (SyntaxError, ValueError):
        return
    here = module.split(".") if package else module.split(".")[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            word = node.args[0]
            if called in ("import_module", "__import__") and isinstance(word, ast.Constant):
                yield str(word.value).lstrip(".")


def _files(name: str, own: set[str]) -> Iterator[tuple[Path, str]]:
    """(file, module) of a module and of the packages that it is in, where they are local."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top) if top.isidentifier() else None
    except (ImportError, ValueError):  # a module without a spec, such as __main__
        return
    if spec is None:
        return
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    at = top
    if spec.origin and _is_local(Path(spec.origin), top in own):
        yield Path(spec.origin).resolve(), top
    for part in rest:
        at, inner = f"{at}.{part}", []
        for place in places:
            for file in (place / part / "__init__.py", place / f"{part}.py"):
                if file.is_file() and _is_local(file, top in own):
                    yield file.resolve(), at
            inner.append(place / part)
        places = [place for place in inner if place.is_dir()]


def _is_local(file: Path, own: bool) -> bool:
    if not file.is_file() or _is_ours(file):
        return False
    path = file.resolve()
    if set(INSTALLED) & set(file.parts) or set(INSTALLED) & set(path.parts):
        return own
    return not any(path.is_relative_to(folder) for folder in STDLIB)


def data(config: Mapping[str, Any], env_kwargs: Mapping[str, Any]) -> dict[str, str]:
    """Digest of every file and directory that a setting names, by the setting's key."""
    return {key: digest_of(path) for key, path in named(config, env_kwargs)}


def named(config: Mapping[str, Any], env_kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """(key, path) of the settings that name a file or a directory that is there."""
    for prefix, settings in (("", config), ("env.", env_kwargs)):
        for key, value in sorted(settings.items()):
            many = isinstance(value, list | tuple)
            for i, word in enumerate(value if many else [value]):
                if _may_be_path(key, word):
                    path = Path(word).expanduser()
                    if path.exists():
                        yield f"{prefix}{key}" + (f".{i}" if many else ""), path


def _may_be_path(key: str, word: Any) -> bool:
    """Whether a setting may name a file: by the key, or because it looks like a path."""
    if not isinstance(word, str) or not word or "\0" in word or len(word) > 4096:
        return False
    return key.endswith(PATHS) or "/" in word or bool(Path(word).suffix)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of a directory's files: of a model's those that are the model.

    Raises: PgbenchError if one cannot be read.
    """
    try:
        if path.is_file():
            return _hash(path, path.stat().st_size, path.stat().st_mtime_ns)
        files = (file for file in path.rglob("*") if file.is_file())
        if (path / "config.json").is_file():
            files = (file for file in path.iterdir() if file.suffix in MODEL)
        parts = [
            (str(file.relative_to(path)), _hash(file, file.stat().st_size, file.stat().st_mtime_ns))
            for file in files
            if not any(part.startswith(".") for part in file.relative_to(path).parts)
        ]
    except OSError as error:
        raise PgbenchError(f"cannot read {error.filename or path}: {error.strerror}") from error
    return digest(sorted(parts))


@functools.lru_cache(maxsize=4096)  # a model is gigabytes, and every seed asks
def _hash(path: Path, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(word: str, began: str | None, run: Path) -> Path:
    """Where the file or directory `word` of a run is now: where it was, or beside the run.

    `began` is the folder that the run was started in, which relative paths are relative to. A
    project that was moved with its runs has its files in a folder above the run.

    Raises: PgbenchError naming the whole path if it is nowhere.
    """
    path = Path(word).expanduser()
    first = path if path.is_absolute() else Path(began or Path.cwd()) / path
    above = [
        folder / (path.name if path.is_absolute() else path) for folder in run.absolute().parents
    ]
    for place in (first, *above):
        if place.exists():
            return place
    raise PgbenchError(
        f"{run} was made from {first}, which is not there (nor is it in a folder above the run); "
        "put it back, or beside the run"
    )
