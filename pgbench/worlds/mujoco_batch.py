"""A batch of MuJoCo environments on native threads, equal bit for bit to one `MjData` each.

`mujoco.batch.Batch` steps all simulations in one call that holds no Python lock. An environment
adds its model file and a few vectorised functions: observation, outcome of a step, first state.
"""

from __future__ import annotations

import importlib
import os
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces
from mujoco.batch import Batch, SimulationError
from numpy.typing import NDArray

from pgbench.errors import PgbenchError
from pgbench.worlds.batch_env import EVERY, BatchEnv, Bools, Floats, Info, Rows

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
INTEGRATION = mujoco.mjtState.mjSTATE_INTEGRATION.value  # what `Batch` keeps of a simulation
FRAME_SIZE = 480


class MujocoBatchEnv(BatchEnv):
    """Environments of one MuJoCo model, stepped together.

    Attributes that the vectorised functions read, live, n environments first:
    `qpos` (n, nq), `qvel` (n, nv), `ctrl` (n, nu), each MjData field named in `derived`, and, with
    `reads_contacts`, `cfrc_ext` (n, nbody, 6). Derived fields describe the state before the last
    physics substep, as they do after `mj_step` in Gymnasium.

    Contact forces need `mj_rnePostConstraint` after the step, which `Batch` does not call: the
    batch then keeps one MjData per simulation, and that function runs on a copy of each.
    Environments that read no contact forces skip it, which changes no other number.

    A simulation that becomes unstable (NaN, infinite or huge values) is put back to the model's
    default state by MuJoCo, as in Gymnasium, and the episode goes on; one in which MuJoCo raises
    an error, which Gymnasium turns into an exception, ends its episode as terminated instead.

    A copy (`copy.deepcopy`, `pickle`) has a model of its own, compiled from the same file: changes
    made to `model` by hand are not copied.
    """

    model_file: ClassVar[str]
    frame_skip: ClassVar[int]
    camera: ClassVar[Mapping[str, Any]] = {}
    # What an environment reads; no keywords, for nobody else has a say in it.
    derived: ClassVar[tuple[str, ...]] = ()
    reads_contacts: bool = False  # one that decides it by its keywords sets it before all else

    def __init__(self, num_envs: int, **options: Any) -> None:
        self.model = _load_model(ASSETS / self.model_file)
        self.dt = float(self.model.opt.timestep * self.frame_skip)
        low, high = self.model.actuator_ctrlrange.astype(np.float32).T
        action = spaces.Box(low, high, dtype=np.float32)
        super().__init__(num_envs, action, render_fps=round(1 / self.dt), **options)
        data = mujoco.MjData(self.model)
        self.init_qpos, self.init_qvel = data.qpos.copy(), data.qvel.copy()
        self.batch = Batch(self.model, num_envs, self.num_threads, persistent=self.reads_contacts)
        self._default_state = np.empty(self.batch.nstate)
        mujoco.mj_getState(self.model, data, self._default_state, INTEGRATION)
        self.qpos: Floats = self.batch.bind("qpos")
        self.qvel: Floats = self.batch.bind("qvel")
        self.ctrl: Floats = self.batch.bind("ctrl")
        self._derived = {name: self.batch.bind(name) for name in self.derived}
        for name, field in self._derived.items():
            # MuJoCo marks outputs read-only against mistakes; load() puts saved ones back.
            field.setflags(write=True)
            setattr(self, name, field)
        self._scratch = data if self.reads_contacts else None
        if self.reads_contacts:
            self.cfrc_ext = self._derived["cfrc_ext"] = np.zeros((num_envs, self.model.nbody, 6))
        self._place = np.array(self.place(EVERY))
        self._renderer: Any = None
        width = self.observe(EVERY).shape[1]
        self.set_observation_space(spaces.Box(-np.inf, np.inf, (width,), np.float64))

    # What an environment provides, beside observe() and pose_info().

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """The first state of an episode: qpos (nq,), qvel (nv,)."""
        raise NotImplementedError

    def outcome(self, actions: Floats, velocity: Floats) -> tuple[Floats, Bools, Info]:
        """Rewards (n,), terminated (n,) and info terms of the step that was just taken.

        actions: (n, nu) as given, so that their sums have the precision that Gymnasium's have.
        velocity: (n, p), the change of `place` over the step, in its unit per second.
        """
        raise NotImplementedError

    def place(self, rows: Rows) -> Floats:
        """What moves (k, p): its velocity is given to `outcome`; by default nothing, (k, 0)."""
        return self.qpos[rows, :0]

    # How the batch runs.

    def advance(self, actions: Floats) -> tuple[Floats, Bools, Info]:
        """See `BatchEnv`: frame_skip physics steps with the controls held."""
        self.ctrl[:] = actions
        failed: NDArray[np.intp] | None = None
        try:
            self.batch.step(nstep=self.frame_skip)
        except SimulationError as error:
            failed = error.ids
        if self._scratch is not None:
            self._contact_forces(self._scratch)
        before, self._place = self._place, np.array(self.place(EVERY))
        velocity = (self._place - before) / self.dt
        rewards, terminated, terms = self.outcome(actions, velocity)
        if failed is not None:
            terminated[failed] = True
        if self.full_info:
            names = ("x_velocity", "y_velocity")
            terms = self.pose_info(EVERY) | dict(zip(names, velocity.T, strict=False)) | terms
        return rewards, terminated, terms

    def restart(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        """See `BatchEnv`: model defaults, then a drawn state, then `mj_forward`."""
        # Batch.reset writes the same rows, and wakes its threads for it.
        self.batch.state[ids] = self._default_state
        for i, rng in zip(ids.tolist(), rngs, strict=True):
            self.qpos[i], self.qvel[i] = self.draw(rng)
        self.batch.forward(ids)
        if self._scratch is not None:
            self.cfrc_ext[ids] = 0  # as mj_resetData leaves it
        self._place[ids] = self.place(ids)

    def save(self) -> Info:
        """See `BatchEnv`: integration states (warm starts too) and the fields that lag behind."""
        fields = {name: field.copy() for name, field in self._derived.items()}
        return {"physics": self.batch.state.copy(), "fields": fields}

    def load(self, state: Info) -> None:
        """See `BatchEnv`."""
        self.batch.state[:] = state["physics"]
        for name, field in self._derived.items():
            field[:] = state["fields"][name]
        self._place = np.array(self.place(EVERY))

    def _contact_forces(self, data: mujoco.MjData) -> None:
        copy, forces = self.batch.get_data, mujoco.mj_rnePostConstraint
        for i in range(self.num_envs):
            copy(i, data)
            forces(self.model, data)
            self.cfrc_ext[i] = data.cfrc_ext

    # Pictures.

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """A picture of each of the first `render_envs` environments, uint8 (height, width, 3).

        480 x 480 pixels unless `width` and `height` say otherwise.

        Gymnasium's camera, moved along with `place` so that a robot stays in the picture.
        Raises: PgbenchError if there is no OpenGL.
        """
        if self.render_mode is None:
            return None
        if self._renderer is None:
            self._picture_data = mujoco.MjData(self.model)
            self._show(0)
            self._renderer = self._make_renderer()
            lookat, p = self._renderer.viewer.cam.lookat, self._place.shape[1]
            # Without a point of its own, the camera looks where the first robot is now.
            self._look = lookat[:p] - (0 if "lookat" in self.camera else self._place[0])
        frames = []
        for i in range(self.render_envs):
            self._show(i)
            self._renderer.viewer.cam.lookat[: len(self._look)] = self._look + self._place[i]
            frames.append(self._renderer.render("rgb_array"))
        return tuple(frames)

    def _show(self, i: int) -> None:
        mujoco.mj_setState(self.model, self._picture_data, self.batch.state[i], INTEGRATION)
        mujoco.mj_forward(self.model, self._picture_data)

    def _make_renderer(self) -> Any:
        if sys.platform == "linux" and not os.environ.get("DISPLAY"):
            os.environ.setdefault("MUJOCO_GL", "egl")
        screen = self.model.vis.global_
        width, height = self.width or FRAME_SIZE, self.height or FRAME_SIZE
        screen.offwidth = max(screen.offwidth, width)
        screen.offheight = max(screen.offheight, height)
        try:
            from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

            if backend := os.environ.get("MUJOCO_GL"):
                # Gymnasium's viewer prints a second error when its context cannot be made.
                importlib.import_module(f"mujoco.{backend}").GLContext(1, 1).free()
            renderer = MujocoRenderer(
                self.model, self._picture_data, dict(self.camera), width, height
            )
            renderer.render("rgb_array")
        except Exception as error:  # each OpenGL back end fails with an exception of its own
            raise PgbenchError(
                f"cannot draw without OpenGL ({type(error).__name__}: {error}); on Debian: "
                "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri and set MUJOCO_GL=egl, "
                "or install libosmesa6 and set MUJOCO_GL=osmesa"
            ) from error
        # At exit, too, before the modules that a context needs to end are gone.
        self._end_drawing = weakref.finalize(self, renderer.close)
        return renderer

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer and the native threads; no step is possible afterwards."""
        if self._renderer is not None:
            self._end_drawing()
            self._renderer = None
        # The live arrays hold the batch, and the batch its threads.
        for name in ("batch", "qpos", "qvel", "ctrl", *self._derived):
            delattr(self, name)
        self._derived = {}


def _load_model(path: Path) -> mujoco.MjModel:
    """The compiled model, without the printed notice and the log file that old models cause."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        return mujoco.MjModel.from_xml_path(str(path))
    finally:
        mujoco.set_mju_user_warning(before)
