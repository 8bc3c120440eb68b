"""Pictures without a screen."""

import gymnasium
import numpy as np
import pytest

import pgbench
from pgbench.errors import PgbenchError


def draw(env):
    try:
        return env.render()
    except PgbenchError as error:
        pytest.skip(str(error))


def test_picture_is_gymnasiums():
    ours = pgbench.make("hopper", num_envs=3, render_mode="rgb_array", render_envs=2, seed=0)
    frames = draw(ours)
    theirs = gymnasium.make("Hopper-v5", render_mode="rgb_array")
    theirs.reset(seed=0)
    assert len(frames) == 2 and frames[0].dtype == np.uint8
    difference = np.abs(frames[0].astype(float) - theirs.render())
    assert difference.mean() < 2  # the camera follows the robot, here by millimetres
    ours.close()
    theirs.close()


def test_camera_follows_the_robot():
    env = pgbench.make("halfcheetah", render_mode="rgb_array", seed=0)
    first = draw(env)[0]
    env.qpos[0, 0] += 8.0  # a whole number of the floor's squares
    env.step(np.zeros((1, 6), np.float32))
    assert np.abs(env.render()[0].astype(float) - first).mean() < 20
    env.close()


def test_pendulum_points_where_its_angle_says():
    env = pgbench.make("pendulum", num_envs=2, render_mode="rgb_array", seed=0)
    env.load_state_dict({**env.state_dict(), "state": np.array([[0.0, 0.0], [np.pi / 2, 0.0]])})
    up, left = env.render()
    assert up.shape == (500, 500, 3) and up.dtype == np.uint8
    for frame, (row, column) in ((up, (150, 250)), (left, (250, 150))):
        assert tuple(frame[row, column]) == (204, 77, 77)
        assert tuple(frame[499 - row, 499 - column]) == (255, 255, 255)
        assert tuple(frame[250, 250]) == (0, 0, 0)


def coloured(frame, colour):
    """Mean row and column of the pixels of that colour."""
    return np.argwhere((frame == colour).all(-1)).mean(0)


def test_classic_control_shows_where_things_are():
    env = pgbench.make("cartpole", num_envs=2, render_mode="rgb_array", seed=0)
    env.load_state_dict(
        {**env.state_dict(), "state": np.array([[0.0, 1.2], [0, 0], [0, 0.2], [0, 0]])}
    )
    upright, right = env.render()
    assert upright.shape == (400, 600, 3) and upright.dtype == np.uint8
    pole = (202, 152, 101)
    assert coloured(upright, pole)[1] == pytest.approx(299.5)
    assert coloured(right, pole)[1] == pytest.approx(299.5 + (1.2 + np.sin(0.2) / 2) * 125, abs=5)
    env = pgbench.make("acrobot", render_mode="rgb_array", seed=0)
    env.load_state_dict({**env.state_dict(), "state": np.array([[np.pi / 2], [0], [0], [0]])})
    (frame,) = env.render()
    assert coloured(frame, (0, 204, 204))[0] == pytest.approx(249.5, abs=1)
    assert coloured(frame, (0, 204, 204))[1] > 340
    for name in ("mountain-car", "mountain-car-continuous"):
        env = pgbench.make(name, render_mode="rgb_array", width=300, height=200, seed=0)
        env.load_state_dict({**env.state_dict(), "state": np.array([[-0.3], [0.0]])})
        (frame,) = env.render()
        assert frame.shape == (200, 300, 3)
        assert coloured(frame, (128, 128, 128))[1] == pytest.approx(149.5, abs=3)


def test_no_picture_without_a_render_mode():
    assert pgbench.make("hopper", seed=0).render() is None
    assert pgbench.make("pendulum", seed=0).render() is None


def test_missing_opengl_is_one_line(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    env = pgbench.make("hopper", render_mode="rgb_array", seed=0)
    with pytest.raises(PgbenchError, match="cannot draw without OpenGL"):
        env.render()
