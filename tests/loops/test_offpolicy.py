"""What the off-policy loop stores and draws, on real environments."""

import torch

from pgbench.learning.batches import Replay
from pgbench.runs.plan import make_plan
from pgbench.runs.runner import build


def make_loop(env, **settings):
    settings = {"start": 500, "batch": 8, "buffer": 1000, **settings}
    plan = make_plan(
        "sac", env, budget=600, settings=settings, device="cpu", compile=False, threads=1
    )
    return build(plan)


def test_the_buffer_holds_what_happened():
    _, vector, loop = make_loop("inverted-pendulum", num_envs=2)
    next(loop.phases())
    rows = loop.replay.draw(torch.arange(loop.replay.size))
    assert loop.steps == loop.replay.size == 200
    ended = rows.terminated.bool()
    assert ended.any() and not ended.all()
    assert (rows.next_obs[ended][:, 1].abs() > 0.2).all(), "the successor is the fallen pole"
    # Rows alternate between the two environments: the successor of row i is the state of row i + 2.
    live = ~ended[:-2]
    assert torch.equal(rows.next_obs[:-2][live], rows.obs[2:][live])
    assert rows.action.abs().max() <= 1
    vector.close()


def test_truncation_is_not_stored_as_an_end():
    _, vector, loop = make_loop("pendulum")
    next(loop.phases())  # 200 steps: exactly one truncated episode
    rows = loop.replay.draw(torch.arange(200))
    assert not rows.terminated.any()
    assert not torch.equal(rows.next_obs[199], loop.policy.see(loop.obs)[0])
    vector.close()


def test_one_update_an_environment_step_after_the_start():
    algorithm, vector, loop = make_loop("pendulum", start=100, num_envs=2)
    for _ in loop.phases():
        pass
    counts = {float(v) for k, v in algorithm.state.items() if k.endswith(".t")}
    assert counts == {500.0}
    vector.close()


def test_the_ring_forgets_the_oldest():
    replay = Replay(5, 1, 1, torch.device("cpu"))
    for i in range(4):
        replay.add(torch.full((2, 5), float(i)))
    assert replay.size == 5
    assert sorted(replay.rows[:, 0].tolist()) == [1.0, 2.0, 2.0, 3.0, 3.0]
    assert replay.draw(torch.tensor([0])).reward.shape == (1,)
