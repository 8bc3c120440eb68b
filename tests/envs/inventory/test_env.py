"""Supply networks as vector environments, and how policies for them are judged."""

import gymnasium
import numpy as np
import pytest
import torch

import pgbench
import pgbench.gym
from pgbench.catalogue.registry import ENVS, find_env
from pgbench.envs.inventory import evaluation
from pgbench.errors import PgbenchError

INSTANCES = [s.id for s in ENVS.all() if s.family == "inventory" and s.instance_of]


def test_the_instances_of_the_paper_are_there():
    count = {}
    for name in INSTANCES:
        base = find_env(name).instance_of
        count[base] = count.get(base, 0) + 1
    assert count["one-store-lost-sales"] == 16
    assert count["one-store-backlogged"] == 24
    assert count["serial-system"] == 16 + 5
    assert count["transshipment"] == count["one-warehouse"] == 6


def test_the_random_instances_are_the_paper_s():
    """Check values of the released code's seeds, for 3 and 5 stores."""
    five = pgbench.make("one-warehouse-5").network
    three = pgbench.make("one-warehouse-3").network
    assert five.mean == (3.743, 4.75, 4.555, 3.801, 6.852)
    assert five.std == (1.765, 2.124, 1.622, 1.405, 1.714)
    penalty = (10.2367, 9.3307, 6.9748, 8.447, 10.5191)
    assert [round(p, 4) for p in five.penalty] == list(penalty)
    holding = [0.3, 1.0856, 1.0232, 1.0071, 1.0662, 0.9958]  # the warehouse first
    assert [round(h, 4) for h in five.holding] == holding
    assert [e.lead for e in five.internal] == [2, 3, 2, 2, 2]
    assert three.mean == five.mean[:3] and three.std == five.std[:3]


def test_a_step_pays_what_the_period_costs():
    env = pgbench.make("one-store-lost-sales-p9-l2", num_envs=3, seed=0)
    before = env._state.clone()
    demand = env._traces.demand[0, 0]
    obs, reward, terminated, truncated, _ = env.step(np.full((3, 1), 4.0, np.float32))
    left = before[0] - demand
    cost = 9 * (-left).clamp(min=0) + left.clamp(min=0)
    np.testing.assert_allclose(reward, -cost.numpy())
    np.testing.assert_allclose(obs[:, 0], (left.clamp(min=0) + before[1]).numpy(), rtol=1e-6)
    # Lead time 2: the order is in column 1 now, with what was on its way there.
    np.testing.assert_allclose(obs[:, 1], (before[2] + 4).numpy(), rtol=1e-6)
    assert not terminated.any() and not truncated.any()


def test_orders_of_whole_units_and_never_negative():
    env = pgbench.make("one-store-lost-sales-p9-l2", num_envs=2, seed=0)
    held = env._state[2].clone()
    env.step(np.array([[3.6], [-2.0]], np.float32))
    np.testing.assert_allclose(env._state[1] - held, [4, 0], atol=1e-5)


@pytest.mark.parametrize("name", ["one-store-backlogged", "serial-system", "many-warehouses"])
def test_same_seed_same_episode_and_the_state_resumes(name):
    one, two = (pgbench.make(name, num_envs=3, seed=7) for _ in range(2))
    actions = np.random.default_rng(0).uniform(0, 4, (80, *one.action_space.shape))
    for t in range(30):
        first, second = one.step(actions[t]), two.step(actions[t])
        np.testing.assert_array_equal(first[0], second[0])
    two = pgbench.make(name, num_envs=3, seed=8)
    two.load_state_dict(one.state_dict())
    for t in range(30, 80):  # across the end of the episode after 50 periods
        first, second = one.step(actions[t]), two.step(actions[t])
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])


def test_a_partial_reset_leaves_the_other_lanes_alone():
    env = pgbench.make("one-warehouse-3", num_envs=3, seed=1)
    for _ in range(4):
        env.step(np.ones(env.action_space.shape, np.float32))
    before = env._state.clone()
    env.reset(options={"reset_mask": np.array([False, True, False])})
    assert torch.equal(env._state[:, [0, 2]], before[:, [0, 2]])
    assert not torch.equal(env._state[:, 1], before[:, 1])
    assert env._elapsed.tolist() == [4, 0, 4]


def test_gymnasium_makes_it_and_its_checker_agrees():
    from gymnasium.utils.env_checker import check_env

    env = gymnasium.make("pgbench/one-store-lost-sales-v0")
    check_env(env.unwrapped, skip_render_check=True)
    obs, _ = env.reset(seed=3)
    assert obs.shape == (4,) and env.action_space.shape == (1,)
    chosen = gymnasium.make("pgbench/one-store-lost-sales-v0", penalty=19.0, lead_time=4)
    assert chosen.unwrapped.batch.optimum.value == pytest.approx(8.8872, abs=1e-4)


def test_traces_are_those_of_the_seed_and_of_the_stated_demand():
    env = pgbench.make("transshipment-5")
    one, same, other = (env.traces(4000, seed) for seed in (3, 3, 4))
    assert torch.equal(one.demand, same.demand) and torch.equal(one.start, same.start)
    assert not torch.equal(one.demand, other.demand)
    demand = one.demand.double().permute(1, 0, 2).flatten(1)  # (K, T * B)
    n = demand.shape[1]
    mean, std = (torch.tensor(x) for x in (env.network.mean, env.network.std))
    error = std.double() / n**0.5
    assert ((demand.mean(1) - mean).abs() < 4 * error).all()
    assert ((demand.std(1) / std - 1).abs() < 4 / (2 * n) ** 0.5).all()
    seen = torch.corrcoef(demand)
    off = seen[~torch.eye(5, dtype=torch.bool)]
    assert ((off - 0.5).abs() < 4 * 0.75 / n**0.5).all()
    assert (demand < 0).any()  # not clipped
    assert one.start[:3].abs().sum() == 0  # the centre begins empty
    assert (one.start[3:].unflatten(0, (5, 4)) <= mean[:, None, None].float()).all()


@pytest.mark.parametrize(
    "name", ["one-store-lost-sales-p19-l3", "one-store-backlogged-p4-l7", "serial-system-p9-l2"]
)
def test_the_optimal_policy_has_no_gap_and_earns_the_optimum(name):
    env = pgbench.make(name)
    traces = env.traces(1024, 11, "test")
    guide = env.guide
    cost = evaluation.simulate(env, lambda obs: guide.orders(obs.T).T, traces, 1000, 300)
    error = cost.std().item() / 32
    assert abs(cost.mean().item() - env.optimum.value) < 3.5 * error

    def best(obs):
        return guide.orders(torch.from_numpy(obs).T).T.numpy()

    scores = pgbench.evaluate(best, name, episodes=2).returns
    assert scores == pytest.approx([0, 0], abs=1e-3)


def test_the_gap_of_a_base_stock_policy_is_the_formula_s():
    """A level one unit too high: the exact cost of any level is known."""
    from pgbench.envs.inventory.optima import newsvendor

    level = newsvendor.level(5.0, 1.6, 9.0, 1.0, 4) + 1
    cost = newsvendor.cost_of_level(level, 5.0, 1.6, 9.0, 1.0, 4)
    optimum = newsvendor.cost(5.0, 1.6, 9.0, 1.0, 4)

    def policy(obs):
        return np.maximum(level - obs.sum(1, keepdims=True), 0)

    found = pgbench.evaluate(policy, "one-store-backlogged-p9-l4", episodes=4)
    expected = 100 * (cost / optimum - 1)
    assert found.mean == pytest.approx(expected, rel=0.03)
    assert found.lengths == [1000] * 4


def test_a_policy_that_orders_ever_more_has_a_finite_cost():
    def policy(obs):
        return 10 * obs.sum(1, keepdims=True) + 1

    assert np.isfinite(pgbench.evaluate(policy, "one-store-lost-sales-p9-l1", episodes=1).mean)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lead_time": -2}, "lead_time"),
        ({"penalty": 0.0}, "penalty"),
        ({"test_periods": 200}, "test_periods 200 must exceed warm_up 300"),
        ({"lead": 2}, "unknown setting of one-store-lost-sales 'lead'"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings, words):
    with pytest.raises(PgbenchError) as error:
        pgbench.make("one-store-lost-sales", **settings)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_the_command_line_refuses_them_with_exit_code_2(cli, tmp_path):
    words = "run --algo hdpo --env one-store-lost-sales --runs".split()
    for setting, says in (("lead_time=-1", "lead_time"), ("penalti=9", "penalti")):
        code, _, err = cli(*words, tmp_path, "--set", setting)
        assert code == 2 and says in err and "Traceback" not in err
    code, _, err = cli(*words, tmp_path, "--set", "env.lead_times=[[0]]")
    assert code == 2 and "lead_times" in err
    code, _, err = cli(
        *"run --algo hdpo --env many-warehouses --runs".split(), tmp_path,
        "--set", "lead_times=[[1,2],[0,0]]",
    )  # fmt: skip
    assert code == 2 and "no warehouse reaches store 1" in err
    assert list(tmp_path.iterdir()) == []


def test_weekly_sales_are_split_by_weeks_and_end_with_them():
    env = pgbench.make("seasonal-store", num_envs=2, seed=0)
    horizons = {split: env.horizon(split) for split in ("train", "dev", "test")}
    assert horizons == {"train": (95, 16), "dev": (37, 16), "test": (37, 16)}
    traces = {split: env.traces(40, 1, split) for split in horizons}
    assert [t.demand.shape for t in traces.values()] == [(111, 1, 40), (53, 1, 40), (53, 1, 40)]
    # The same seed picks the same products: development begins 88 weeks after training.
    assert torch.equal(traces["train"].demand[88:111], traces["dev"].demand[:23])
    everything = env.traces(10**6, 2, "train")
    assert len(everything) == 288 * 21
    obs, *_ = env.step(np.zeros((2, 1), np.float32))
    seen = obs[:, env.network.rows["past"]]
    np.testing.assert_array_equal(seen, env._traces.demand[1:17, 0].T)


def test_the_score_on_weekly_sales_is_a_share_of_the_oracle_s_profit():
    def nothing(obs):
        return np.zeros((len(obs), 1), np.float32)

    assert pgbench.evaluate(nothing, "seasonal-store", episodes=1).mean == pytest.approx(
        0, abs=1e-6
    )

    def generous(obs):
        """Eight weeks of the last sixteen's mean in stock and on the way."""
        rows = pgbench.make("seasonal-store").network.rows
        level = 8 * obs[:, rows["past"]].mean(1) - obs[:, rows["store"]].sum(1)
        return np.maximum(level, 0)[:, None]

    assert 30 < pgbench.evaluate(generous, "seasonal-store", episodes=1).mean < 100


def test_a_bad_file_of_sales_is_one_line(cli, tmp_path):
    file = tmp_path / "sales.npy"
    values = np.ones((4, 3, 171), np.float32)
    values[2, 1, 70] = np.nan
    np.save(file, values)
    words = "run --algo hdpo --env seasonal-store --runs".split()
    code, _, err = cli(*words, tmp_path / "runs", "--set", f"path={file}")
    assert code == 2 and "sample 2" in err and "store 1" in err and "week 70" in err
    assert "Traceback" not in err and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("seasonal-store", {"test_periods": 50}, "take no test_periods"),
        ("one-warehouse-3", {"returns": True}, "returns are for stores"),
    ],
)
def test_a_setting_without_effect_is_refused(name, settings, words):
    with pytest.raises(PgbenchError, match=words):
        pgbench.make(name, **settings)


def test_what_scores_are_relative_to_is_in_the_details():
    def constant(obs):
        return np.full((len(obs), 1), 5.0, np.float32)

    found = pgbench.evaluate(constant, "one-store-lost-sales-p9-l1", episodes=1)
    details = found.details
    assert details["optimum"] == pgbench.make("one-store-lost-sales-p9-l1").optimum.value
    # The score is the gap with the luck of the demand taken out, which is a per cent or two.
    gap = 100 * (details["cost"] / details["optimum"] - 1)
    assert found.mean == pytest.approx(gap, rel=0.05)
    found = pgbench.evaluate(constant, "seasonal-store", episodes=1)
    share = 100 * found.details["profit"] / found.details["oracle-profit"]
    assert found.mean == pytest.approx(share)
