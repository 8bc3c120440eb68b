"""`pgbench new`: files that run as they are, to be changed into one's own."""

from __future__ import annotations

import importlib.util
import keyword
import re
from pathlib import Path

from pgbench.catalogue.registry import ALGOS, ENVS, LOOPS, find_env, has_scheme
from pgbench.errors import PgbenchError
from pgbench.support.files import write_bytes
from pgbench.support.names import named, unknown

TEMPLATES = Path(__file__).parent / "templates"
FAMILIES = {"algo": ("control", "inventory", "text"), "env": ("control", "text"), "loop": ()}
OWN = {"algo": "algo", "env": "world", "loop": "loop"}  # own-algo: what a template calls itself
WORDS = {"algo": "algorithm", "env": "environment", "loop": "loop"}


def new_plugin(kind: str, name: str, family: str, folder: Path) -> Path:
    """Write `<name>.py`, an algo, env or loop, into `folder`; the file gets underscores for dashes.

    Raises: PgbenchError if the name is no identifier or taken, there is no template for the family,
    or the file exists.
    """
    what, own, families = WORDS[kind], OWN[kind], FAMILIES[kind]
    article = "an" if what[0] in "aeiou" else "a"
    stem = name.replace("-", "_")
    if (
        not (stem.isascii() and stem.isidentifier())
        or keyword.iskeyword(stem)
        or stem != stem.lower()
    ):
        raise PgbenchError(
            f"'{name}' cannot name {article} {what}; use small letters, digits and dashes, "
            f"beginning with a letter, for example my-{own}"
        )
    named(what, name)
    if families and family not in families:
        raise unknown(f"family of {what}s", family, families, f"take {' or '.join(families)}")
    taken = {
        "algo": {spec.name for spec in ALGOS.all()},
        "env": {word for spec in ENVS.all() for word in (spec.id, spec.name)},
        "loop": {spec.name for spec in LOOPS.all()},
    }
    if name in taken[kind]:
        raise PgbenchError(
            f"'{name}' is the name of {article} {what} already (`pgbench explain {name}`); take "
            f"another, for example my-{name}"
        )
    path = folder / f"{stem}.py"
    if path.exists():
        raise PgbenchError(f"{path} exists already and is left as it is; take another name")
    hidden = importlib.util.find_spec(stem)
    if hidden is not None and hidden.origin:
        raise PgbenchError(
            f"{path.name} would hide the Python module '{stem}' from whatever runs beside it; take "
            f"another name, for example my-{name}"
        )
    template = TEMPLATES / f"{kind}_{family}.py" if families else TEMPLATES / f"{kind}.py"
    text = template.read_text(encoding="utf-8")
    class_name = "".join(part.capitalize() for part in stem.split("_"))
    if not class_name.isidentifier() or re.search(rf"\b{class_name}\b", text):
        class_name += own.capitalize()  # my `config` is not its Config
    for old, new in (
        (f"own-{own}", name), (f"own_{own}", stem), (f"Own{own.capitalize()}", class_name),
    ):  # fmt: skip
        text = text.replace(old, new)
    write_bytes(path, text.encode())
    return path


SUITE = """\
# A suite is the whole definition of a board; docs/leaderboards.md has the rules. Change what you
# like, but nothing once runs are recorded: then it is another suite, @STEM@-v2.
#   pgbench bench @NAME@ --dry-run     what it will run
#   pgbench bench @NAME@               runs it, and writes leaderboards/@NAME@.html
name = "@NAME@"                           # the file's name; words and a version
title = "@TITLE@"
about = "What is compared here, and why."
rules = 1
limit = 3600                              # seconds that a run may take; over it, it has failed
protocol = { episodes = @EPISODES@, curve_points = 10, curve_episodes = @CURVE@ }

# One table an environment. The fingerprint of yours, with its keywords if it has some:
#   pgbench new suite @STEM@-two --env @FIRST@ ...
@ENVS@
[[track]]                                 # one table of the board; there may be several
name = "short"
title = "@BUDGET@ @UNIT@"
budget = @BUDGET@                         # @WHY@
seeds = 3
environments = [@IDS@]
entry = [
    # A setting that differs needs a label; "./mine.py" is an algorithm, too.
@ENTRIES@
]
"""
ENVIRONMENT = """\
[environments.@KEY@]
version = "@VERSION@"
golden = "@GOLDEN@"
floor = @FLOOR@                           # 0 of the normalised score, and what a failed run scores
floor_origin = "@FLOOR_ORIGIN@"
reference = @REFERENCE@                   # 1 of the normalised score
reference_origin = "@REFERENCE_ORIGIN@"
"""


# What each family's suite begins with: environment, budget and why, entries.
BEGIN = {
    "control": (
        "inverted-pendulum", 10_240, "whole iterations of every entry (horizon, below)",
        ("""{ algo = "ppo", set = { horizon = 512 } },""",
         """{ algo = "ppo", label = "ppo, slow", set = { horizon = 512, lr = 1e-4 } },"""),
    ),
    "inventory": (
        "one-store-lost-sales-p9-l2", 2_000_000, "periods of all traces that are replayed",
        ("""{ algo = "hdpo", set = { batch = 512 } },""",
         """{ algo = "hdpo", label = "hdpo, slow", set = { batch = 512, lr = 1e-4 } },"""),
    ),
    "text": (
        "math-nano", 20, "rounds of generation",
        ("""{ algo = "grpo" },""", """{ algo = "rloo" },"""),
    ),
}  # fmt: skip
FLOOR = {"control": 0.0, "inventory": 100.0, "text": 0.0}
REFERENCE = {"control": 1000.0, "inventory": 0.0, "text": 1.0}  # where there is no anchor


def new_suite(name: str, root: Path, envs: list[str], family: str | None = None) -> Path:
    """Write `<root>/suites/<name>.toml` with the fingerprints of environments of one family.

    Without `envs` it is the family's smallest, without a family that of the first one.

    Raises: PgbenchError if the name or an environment does not do, or the file exists.
    """
    from pgbench.catalogue.fingerprint import golden
    from pgbench.records.suite import NAME, read_suite

    name = name if NAME.fullmatch(name) else f"{name}-v1"
    if not NAME.fullmatch(name):
        raise PgbenchError(
            f"'{name}' cannot name a suite; use small letters, digits and dashes, for example "
            "my-suite-v1"
        )
    path = root / "suites" / f"{name}.toml"
    if path.exists():
        raise PgbenchError(f"{path} exists already and is left as it is; take another name")
    family = family or (find_env(envs[0]).family if envs else "control")
    if family not in BEGIN:
        raise unknown("family of suites", family, BEGIN, f"take {', '.join(BEGIN)}")
    first, budget, why, entries = BEGIN[family]
    tables, specs = [], [find_env(env) for env in envs or [first]]
    for spec in specs:
        if spec.family != family:
            raise PgbenchError(
                f"{spec.id} is of family {spec.family}, not {family}; a track compares algorithms "
                "of one family: write another suite for it"
            )
        anchors = {key: spec.anchors.get(key) for key in ("random", "reference")}
        low, high = anchors["random"], anchors["reference"]
        values = {
            "KEY": f'"{spec.id}"' if has_scheme(spec.id) else spec.id,
            "VERSION": spec.name, "GOLDEN": golden(spec),
            "FLOOR": f"{low.value if low else FLOOR[family]}",
            "FLOOR_ORIGIN": low.origin if low else "to be measured: a random policy's score",
            "REFERENCE": f"{high.value if high else REFERENCE[family]}",
            "REFERENCE_ORIGIN": high.origin if high else "to be found: the score to be reached",
        }  # fmt: skip
        tables.append(_filled(ENVIRONMENT, values))
    stem = name.rpartition("-v")[0]
    text = _filled(SUITE, {
        "NAME": name, "STEM": stem, "TITLE": stem.replace("-", " ").capitalize(),
        "ENVS": "\n".join(tables), "BUDGET": f"{budget:_}", "UNIT": specs[0].budget_unit,
        "FIRST": specs[0].id, "WHY": why, "ENTRIES": "\n".join(f"    {line}" for line in entries),
        "EPISODES": str(specs[0].episodes), "CURVE": str(specs[0].curve_episodes),
        "IDS": ", ".join(f'"{spec.id}"' for spec in specs),
    })  # fmt: skip
    write_bytes(path, text.encode())
    read_suite(path)
    return path


def _filled(text: str, values: dict[str, str]) -> str:
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text
