"""What the on-policy loop hands to algorithms, on real environments."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch

from pgbench.errors import PgbenchError
from pgbench.learning.ops.returns import gae
from pgbench.runs.plan import make_plan
from pgbench.runs.runner import build


def make_loop(env, **settings):
    settings = {"horizon": 512, "num_envs": 2, **settings}
    plan = make_plan(
        "ppo", env, budget=1024, settings=settings, device="cpu", compile=False, threads=1
    )
    return build(plan)


@pytest.mark.parametrize("env", ["inverted-pendulum", "pendulum"])
def test_successors_are_the_true_ones(env):
    _, vector, loop = make_loop(env, normalize_obs=False, normalize_reward=False)
    rollout = loop.collect()
    done = rollout.done
    assert done.any(), "no episode ended: the test shows nothing"
    after = rollout.obs[1:]
    live = ~done[:-1]
    assert torch.equal(rollout.next_obs[:-1][live], after[live])
    # At an end the successor is the final observation, not the first of the next episode.
    assert not torch.isclose(rollout.next_obs[:-1][~live], after[~live]).all(-1).any()
    if env == "pendulum":  # 200 steps, never terminated
        assert rollout.truncated[199].all() and not rollout.terminated.any()
    else:  # the pole falls
        assert rollout.terminated.any()
        fallen = rollout.next_obs[rollout.terminated]
        assert (fallen[:, 1].abs() > 0.2).all()
    vector.close()


def test_truncation_bootstraps_and_termination_does_not():
    """With V = 10 everywhere, gamma = 0.9: an end costs the bootstrap only if the task ended."""
    for env, bootstrap in (("pendulum", 9.0), ("inverted-pendulum", 0.0)):
        _, vector, loop = make_loop(env, normalize_reward=False)
        rollout = loop.collect()
        value = torch.full_like(rollout.reward, 10.0)
        adv = gae(rollout.reward, value, value, rollout.terminated, rollout.done, 0.9, 0.0)
        ends = rollout.done
        expected = rollout.reward[ends] + bootstrap - 10.0
        assert ends.any()
        torch.testing.assert_close(adv[ends], expected)
        vector.close()


def test_the_normaliser_is_frozen_within_an_iteration_and_exact_after_it():
    _, vector, loop = make_loop("inverted-pendulum")
    first = loop.collect()
    torch.testing.assert_close(first.obs.flatten(0, 1), loop.raw_obs.clamp(-10, 10))
    loop.pending = first
    raw = loop.raw_obs.clone()
    phases = loop.phases()
    next(phases)  # the update that waits, then the normaliser learns
    torch.testing.assert_close(loop.moments.mean, raw.mean(0))
    torch.testing.assert_close(1 / loop.moments.inv_std, (raw.var(0, correction=0) + 1e-8).sqrt())
    next(phases)
    second = loop.pending
    mean, inv_std = raw.mean(0), (raw.var(0, correction=0) + 1e-8).rsqrt()
    expected = ((loop.raw_obs - mean) * inv_std).clamp(-10, 10)
    torch.testing.assert_close(second.obs.flatten(0, 1), expected, rtol=1e-4, atol=1e-4)
    vector.close()


def test_rewards_are_scaled_by_the_discounted_return_as_the_usual_wrapper_does():
    _, vector, loop = make_loop("inverted-pendulum", gamma=0.9)
    torch.manual_seed(0)
    carried, seen = torch.zeros(2), []
    for _ in range(2):
        reward, done = torch.rand(7, 2), torch.rand(7, 2) < 0.3
        scaled = loop.scaled(reward, done)
        for t in range(7):
            carried = carried * 0.9 + reward[t]
            seen.append(carried)
            carried = carried * (~done[t]).float()
        std = (torch.stack(seen).double().var(correction=0) + 1e-8).sqrt().float()
        torch.testing.assert_close(scaled, reward / std)
    vector.close()


def test_a_budget_is_never_exceeded():
    plan = make_plan(
        "ppo", "pendulum", budget=1300, settings={"horizon": 512, "num_envs": 2},
        device="cpu", compile=False, threads=1,
    )  # fmt: skip
    _, vector, loop = build(plan)
    for _ in loop.phases():
        pass
    assert loop.steps == 1024
    vector.close()
    with pytest.raises(PgbenchError, match="below one iteration"):
        build(dataclasses.replace(plan, budget=500))


def test_actions_are_clipped_only_for_the_environment():
    algorithm, vector, loop = make_loop("pendulum")
    algorithm.state["theta"][algorithm.pi.count - 1] = 3.0  # log-std: far outside the box of 2
    rollout = loop.collect()
    assert rollout.action.abs().max() > 2.0
    assert np.abs(loop.policy.to_env(rollout.action[0])).max() <= 2.0
    vector.close()


def test_evaluation_is_gymnasiums_to_the_bit():
    """The mean policy of an untrained network, episode by episode in plain Gymnasium."""
    from pgbench.runs.evaluation import evaluate
    from pgbench.support.seeding import eval_seeds

    _, vector, loop = make_loop("hopper")
    vector.close()
    result = evaluate(loop.policy, "hopper", episodes=3)
    env = gymnasium.make("Hopper-v5")
    for i, seed in enumerate(eval_seeds("hopper-v0", 3)):
        obs, _ = env.reset(seed=seed)
        total, length, done = 0.0, 0, False
        while not done:
            # Three rows, as in the batch: a matrix product of one row may round differently.
            action = loop.policy(np.repeat(obs[None], 3, 0))[i]
            obs, reward, terminated, truncated, _ = env.step(action)
            total, length, done = total + reward, length + 1, terminated or truncated
        assert (result.returns[i], result.lengths[i]) == (total, length)
    env.close()
