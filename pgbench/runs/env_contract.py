"""The contract suite of environments: what every one must keep, run on any of them, plug-ins too.

Each check is a function that raises AssertionError with what is wrong, or returns what is worth
knowing besides; `pgbench check --env NAME` and the project's own tests run the same list.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from pgbench.catalogue.capabilities import make, promises
from pgbench.catalogue.registry import EnvSpec, find_env
from pgbench.errors import PgbenchError
from pgbench.runs.contract import go_through
from pgbench.runs.evaluation import evaluate, step_limit
from pgbench.support.files import load_tensors, save_tensors
from pgbench.support.seeding import train_seed
from pgbench.worlds.checks import check_env, reset, step
from pgbench.worlds.tasks import SPLITS

LANES = 4
MOST = 2000  # steps in which an episode ends, if it is to be seen
AHEAD = 60  # steps after a saved state, across an end where episodes are that short
EPISODES = 20
TASKS = 8  # of a split
WORDS = ("no answer", "7")  # what is said to an environment of texts
BEYOND = 1e3  # a box without bounds is sampled up to here
UNKNOWN = 3  # exit code of a process that does not know the environment
CONTINUE = "import sys; from pgbench.runs.env_contract import go_on; go_on(sys.argv[1])"

Trail = list[tuple[Any, ...]]  # observations, rewards, terminated, truncated of each step


@dataclass(frozen=True)
class World:
    """What the checks work with: the environment, its keywords, an empty folder."""

    name: str  # or a .py file
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> EnvSpec:
        """The environment under check."""
        return find_env(self.name)

    @property
    def text(self) -> bool:
        """Whether actions are texts, which programs judge: every step is dear."""
        return "Text" in self.spec.capabilities

    @contextlib.contextmanager
    def made(self, lanes: int = LANES) -> Iterator[Any]:
        """A new environment of `lanes` lanes, closed afterwards."""
        env = make(self.spec, num_envs=lanes, **self.settings)
        try:
            yield env
        finally:
            env.close()

    def seeds(self, lanes: int = LANES, run: int = 0) -> list[int]:
        """Seeds as a training run has them: of up to 57 bits."""
        first = train_seed(self.spec.name, run, "loop")
        return [first + 2 * i for i in range(lanes)]

    def length(self, env: Any) -> int:
        """Steps in which every lane ends an episode, as far as it is to be seen."""
        return 2 * env.turns + 1 if self.text else min(step_limit(env), MOST) + 5


def some_actions(env: Any, steps: int, lanes: int = LANES) -> list[Any]:
    """Actions of `lanes` lanes for each of `steps` steps, the same at every call.

    Lanes are drawn one by one: fewer of them have the same actions.
    """
    space = env.single_action_space
    if isinstance(space, spaces.Text):
        return [[WORDS[(t + lane) % 2] for lane in range(lanes)] for t in range(steps)]
    rows = []
    for lane in range(lanes):
        rng = np.random.default_rng([1, lane])
        if isinstance(space, spaces.Box):
            low, high = (np.clip(end, -BEYOND, BEYOND) for end in (space.low, space.high))
            rows.append(rng.uniform(low, high, (steps, *space.shape)).astype(space.dtype))
        else:
            space.seed(1 + lane)
            rows.append(np.array([space.sample() for _ in range(steps)]))
    return list(np.stack(rows, 1))


def play(env: Any, actions: Sequence[Any], seeds: Sequence[int] | None = None) -> Trail:
    """What an environment gives for `actions`, reset before where there are seeds."""
    trail: Trail = [] if seeds is None else [(_kept(reset(env, seeds)),)]
    for action in actions:
        found = step(env, action, successors=False)  # these are looked at by themselves
        trail.append(tuple(map(_kept, (found.obs, *found[1:4]))))
    return trail


def _kept(part: Any) -> Any:
    return tuple(part) if isinstance(part, tuple) else np.array(part)


def _alike(one: Any, two: Any) -> bool:
    if isinstance(one, tuple | list):
        return list(one) == list(two)
    return bool(np.shape(one) == np.shape(two) and (np.asarray(one) == np.asarray(two)).all())


def first_difference(one: Trail, two: Trail) -> str:
    """Where two trails differ, in words; empty if they do not."""
    names = ("observations", "rewards", "terminated", "truncated")
    for number, (a, b) in enumerate(zip(one, two, strict=True)):
        other = [n for n, x, y in zip(names, a, b, strict=False) if not _alike(x, y)]
        if other:
            return f"{' and '.join(other)} of step {number}"
    return ""


def promised(world: World) -> str | None:
    """It has the spaces, the autoreset mode and the methods that its capabilities promise."""
    with world.made() as env:
        check_env(env, world.spec.id, LANES, promises(world.spec))
        for what in ("observation", "action"):
            one, many = getattr(env, f"single_{what}_space"), getattr(env, f"{what}_space")
            assert many == batch_space(one, LANES), (
                f"{what}_space is not {LANES} times single_{what}_space; "
                "gymnasium.vector.utils.batch_space makes it"
            )
        return getattr(env, "note", "") or None


def observed(world: World) -> None:
    """Observations are of its space; rewards and ends are one number a lane, and finite."""
    with world.made() as env:
        length = min(world.length(env), 200)
        space = env.single_observation_space
        for number, (obs, *_) in enumerate(play(env, some_actions(env, length), world.seeds())):
            odd = [lane for lane in range(LANES) if not space.contains(_one(obs, lane, space))]
            assert not odd, f"the observation of lane {odd[0]} in step {number} is not in {space}"


def _one(obs: Any, lane: int, space: Any) -> Any:
    value = obs[lane]
    return value.astype(space.dtype) if isinstance(space, spaces.Box) else value


def ended(world: World) -> str | None:
    """Where an episode ends, `final_obs` is its last observation and the next one begins."""
    ends, same, moved = 0, 0, False
    with world.made() as env:
        obs = reset(env, world.seeds())
        for action in some_actions(env, length := world.length(env)):
            given = env.step(action)
            info, done = given[4], np.asarray(given[2], bool) | np.asarray(given[3], bool)
            moved = moved or not _alike(given[0], obs)
            obs = given[0]
            for lane in np.flatnonzero(done).tolist():
                assert "final_obs" in info, (
                    "an episode ended without info['final_obs']: its last observation, one row a "
                    "lane; learning could not bootstrap from it"
                )
                mask = info.get("_final_obs")
                assert mask is not None and _alike(np.asarray(mask, bool), done), (
                    "info['_final_obs'] does not say in which lanes an episode ended"
                )
                last, space = info["final_obs"], env.single_observation_space
                assert len(last) == LANES and space.contains(_one(last, lane, space)), (
                    f"info['final_obs'] has no observation of {space} for lane {lane}"
                )
                ends += 1
                same += _alike(last[lane], obs[lane])
            if ends >= 2 * LANES:
                break
    if not ends:
        return f"no episode ended in {length:,} steps, so none was seen to"
    assert not (moved and ends > 1 and same == ends), (
        "info['final_obs'] is the first observation of the next episode, not the last of the old "
        "one: keep a copy before the lane is reset"
    )
    return None


def seeded(world: World) -> str | None:
    """Equal seeds give equal episodes, at every reset; other seeds give others."""
    with world.made() as env, world.made() as other:
        actions = some_actions(env, world.length(env))
        first = play(env, actions, world.seeds())
        for again, what in ((env, "reset again"), (other, "made anew")):
            odd = first_difference(first, play(again, actions, world.seeds()))
            assert not odd, f"{what} with the same seeds, {odd} differ"
        if not first_difference(first, play(env, actions, world.seeds(run=1))):
            return "every seed gives the same episodes: nothing is random, or seeds are not read"
    return None


def apart(world: World) -> str | None:
    """A lane does not depend on how many others there are."""
    with world.made() as env, world.made(1) as alone:
        actions = some_actions(env, world.length(env))
        many = play(env, actions, world.seeds())
        one = play(alone, [action[1:2] for action in actions], world.seeds()[1:2])
    lane = [tuple(part[1:2] for part in parts) for parts in many]
    if not (odd := first_difference(lane, one)):
        return None
    numbers = [(a, b) for x, y in zip(lane, one, strict=True) for a, b in zip(x, y, strict=True)]
    close = not world.text and all(np.allclose(a, b, 1e-4, 1e-5) for a, b in numbers)
    assert close, (
        f"alone with its seed, lane 1 of {LANES} has other {odd}: what an evaluation finds would "
        "depend on how many episodes run side by side"
    )
    return "equal but for rounding"


def resumed(world: World) -> str | None:
    """A saved state continues to the same bits, inside an episode, in another process, too."""
    file = world.folder / "state.pt"
    with world.made() as env, world.made() as other:
        before = 1 if world.text else min(7, world.length(env) - 1)
        actions = some_actions(env, before + min(AHEAD, world.length(env)))
        play(env, actions[:before], world.seeds())
        state, rest = env.state_dict(), actions[before:]
        # What follows must not change what was saved.
        expected = play(env, rest)
        job = {"name": world.name, "settings": dict(world.settings), "state": state}
        save_tensors(file, {**job, "actions": rest})
        reset(other, world.seeds(run=1))
        other.load_state_dict(load_tensors(file)["state"])
        odd = first_difference(expected, play(other, rest))
        assert not odd, f"continued from a saved state, {odd} differ"
    done = subprocess.run(
        [sys.executable, "-c", CONTINUE, str(world.folder)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    if done.returncode == UNKNOWN:
        return "in this process alone: another does not know an environment that is in no file"
    assert done.returncode == 0, f"in another process: {done.stderr.strip().splitlines()[-1]}"
    found = [tuple(parts) for parts in load_tensors(world.folder / "trail.pt")]
    odd = first_difference(expected, found)
    assert not odd, f"continued from a saved state in another process, {odd} differ"
    return None


def go_on(folder: str) -> None:
    """What another process does with a saved state."""
    job = load_tensors(Path(folder) / "state.pt")
    try:
        spec = find_env(job["name"])
    except PgbenchError:
        sys.exit(UNKNOWN)
    env = make(spec, num_envs=LANES, **job["settings"])
    try:
        env.load_state_dict(job["state"])
        save_tensors(Path(folder) / "trail.pt", play(env, job["actions"]))
    finally:
        env.close()


def refused(world: World) -> None:
    """What is no action is refused: NaN, a choice that is not there, a number for a text."""
    with world.made() as env:
        space, bad = env.single_action_space, dict[str, Any]()
        if isinstance(space, spaces.Box) and space.dtype.kind == "f":
            bad["NaN"] = np.full((LANES, *space.shape), np.nan, space.dtype)
        elif isinstance(space, spaces.Discrete):
            for value in (int(space.start + space.n), int(space.start - 1)):
                bad[str(value)] = np.full(LANES, value)
        elif isinstance(space, spaces.Text):
            bad["a number"] = [7] * LANES
        taken = [what for what, actions in bad.items() if _takes(env, actions, world.seeds())]
    assert not taken, (
        f"{' and '.join(taken)} for an action is taken without a word; raise a ValueError in step"
    )


def _takes(env: Any, actions: Any, seeds: Sequence[int]) -> bool:
    reset(env, seeds)
    try:
        env.step(actions)
    except Exception:
        return False
    return True


def judged(world: World) -> str:
    """Episodes can be judged; what is right is judged right."""
    spec, lines = world.spec, []
    rng = np.random.default_rng(0)
    with world.made(1) as env:
        if "VectorReward" in spec.capabilities and not spec.evaluator:
            return f"rewards are vectors of {env.reward_size}, so an episode has no score"
        space = env.single_action_space
        optimum = getattr(env, "optimum", None)
        if "Demonstrations" in spec.capabilities:
            lines.append(_demonstrations(env))

    if "VectorReward" in spec.capabilities and not spec.evaluator:
        return "; ".join([*lines, "rewards are vectors, of which no evaluator makes a score"])

    def random(obs: Any) -> Any:
        if isinstance(space, spaces.Text):
            return [""] * len(obs)
        if isinstance(space, spaces.Box):
            low, high = (np.clip(end, -BEYOND, BEYOND) for end in (space.low, space.high))
            return rng.uniform(low, high, (len(obs), *space.shape)).astype(space.dtype)
        return np.array([space.sample() for _ in range(len(obs))])

    episodes = EPISODES if not spec.evaluator else TASKS if world.text else 2
    found = evaluate(random, spec, episodes, env_kwargs=dict(world.settings))
    assert np.isfinite(found.mean), f"a random policy scores {found.mean}"
    metric = spec.metrics[0]
    who = "empty answers score" if world.text else "a random policy scores"
    unit = f" {metric.unit}" if metric.unit else ""
    lines.append(f"{who} {found.mean:,.4g}{unit} ({metric.name}, {episodes} episodes)")
    anchors = ", ".join(f"{name} {a.value:,.4g}" for name, a in spec.anchors.items())
    lines.append(f"anchors: {anchors}" if anchors else "it has no anchors")
    if optimum is not None:
        lines.append(f"{optimum.kind} {optimum.value:,.6g} (by {optimum.origin})")
    if found.cut:
        lines.append(f"{found.cut} episodes were cut off after {max(found.lengths):,} steps")
    return "; ".join(lines)


def _demonstrations(env: Any) -> str:
    count = 0
    for split in SPLITS:
        size = env.size(split)
        tasks = [env.task(i, split) for i in range(TASKS if size is None else min(TASKS, size))]
        shown = env.verify(tasks, [task.demonstration for task in tasks])
        empty = env.verify(tasks, [""] * len(tasks))
        for task, right, wrong in zip(tasks, shown, empty, strict=True):
            assert right.correct, f"the demonstration of {task.id} is judged wrong: {right.how}"
            assert not wrong.correct, f"an empty answer to {task.id} is judged right"
        count += len(tasks)
    return f"{count} demonstrations are judged right"


def timed(world: World) -> str:
    """Speed of a step, which is not judged."""
    with world.made(8) as env:
        actions = some_actions(env, 2 if world.text else 200, 8)
        reset(env, world.seeds(8))
        began = time.perf_counter()
        for action in actions:
            env.step(action)
        speed = 8 * len(actions) / (time.perf_counter() - began)
    return f"{speed:,.0f} environment steps a second, 8 side by side"


CHECKS: tuple[Callable[[World], str | None], ...] = (
    promised, observed, ended, seeded, apart, resumed, refused, judged, timed,
)  # fmt: skip


def check_environment(
    name: str, settings: Mapping[str, Any], report: Callable[[str], None]
) -> bool:
    """Run every check on environment `name`, reporting a line for each; True if all passed.

    Raises: PgbenchError if there is nothing to check: an unknown name, a package that is missing,
    a constructor that fails.
    """
    try:
        with World(name, Path(), settings).made():
            pass
    except PgbenchError:
        raise
    except Exception as error:
        raise PgbenchError(f"{name} cannot be made: {type(error).__name__}: {error}") from error
    return go_through(CHECKS, lambda folder: World(name, folder, settings), name, report)
