"""A film of one episode, rendered without a screen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from pgbench.catalogue.capabilities import make
from pgbench.catalogue.registry import EnvSpec
from pgbench.errors import PgbenchError
from pgbench.support.seeding import eval_seeds

GIF_FPS = 15
MOST_FRAMES = 500  # software rendering makes about 20 a second


def writers(path: Path) -> Any:
    """The module that writes films, if it can write one to `path`.

    Raises: PgbenchError if the video extra is missing or the suffix is another.
    """
    if path.suffix.lower() not in (".mp4", ".gif"):
        raise PgbenchError(f"a video is .mp4 or .gif, not '{path.name}'")
    try:
        import imageio.v2 as imageio
        import imageio_ffmpeg  # noqa: F401  (carries the encoder)
    except ImportError as error:
        raise PgbenchError(
            f'{error.name} is not installed; run: pip install -e ".[video]"'
        ) from error
    return imageio


def film(
    policy: Callable[[NDArray[Any]], NDArray[Any]],
    env: EnvSpec,
    path: Path,
    seed: int = 0,
    env_kwargs: dict[str, Any] | None = None,
) -> int:
    """Write the first evaluation episode (at most 500 steps) as .mp4 or .gif; returns its frames.

    Raises: PgbenchError if the video extra or a renderer is missing, or the suffix is another.
    """
    imageio, screen = writers(path), Console(stderr=True)
    vector = make(env, num_envs=1, render_mode="rgb_array", **(env_kwargs or {}))
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    frames, step = 0, 1
    step_size = 2 if path.suffix.lower() == ".gif" else 1
    try:
        fps = vector.metadata.get("render_fps", 30)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".mp4":
            writer = imageio.get_writer(part, fps=fps, macro_block_size=2)
        else:
            # Every frame of a GIF is stored nearly whole: a quarter of the pixels, fewer frames.
            step = max(1, round(fps / GIF_FPS))
            writer = imageio.get_writer(part, duration=1000 * step / fps, loop=0, palettesize=64)
        with writer:
            obs, _ = vector.reset(seed=eval_seeds(env.name, 1, seed))
            for _ in track(range(MOST_FRAMES), "filming", console=screen, transient=True):
                if frames % step == 0:
                    picture = vector.render()[0]
                    writer.append_data(picture if step_size == 1 else picture[::2, ::2])
                frames += 1
                obs, _, terminated, truncated, _ = vector.step(policy(obs))
                if terminated[0] or truncated[0]:
                    break
        part.replace(path)
    finally:
        vector.close()
        part.unlink(missing_ok=True)
    return frames
