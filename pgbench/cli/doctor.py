"""`pgbench doctor`: whether this machine can do the work, and what to do where it cannot."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pgbench.errors import install

# The lowest and the first refused version of pyproject.toml; None where there is no upper end.
KNOWN_TO_WORK: dict[str, tuple[str, str | None]] = {
    "torch": ("2.13", None),
    "numpy": ("2.0", None),
    "scipy": ("1.13", None),
    "gymnasium": ("1.2", "2"),
    "mujoco": ("3.17", "4"),
    "tensorboard": ("2.17", None),
    "msgspec": ("0.20", None),
    "typer": ("0.15", None),
    "rich": ("13", None),
}
LOW_DISK_GIB = 2.0
RENDER = """\
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 48, 64) as renderer:
    renderer.update_scene(data)
    assert renderer.render().any()
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report: `status` is ok, warn (something optional) or fail (essential)."""

    status: str
    what: str
    found: str
    advice: str = ""


def examine(runs: Path) -> Iterator[Finding]:
    """Look at everything, one finding after the other; slow looks come last."""
    yield _python()
    for name in KNOWN_TO_WORK:
        yield _package(name)
    yield _cores()
    yield from _folder(runs)
    yield _compiler()
    yield _video()
    yield _text()
    yield _guarded("code sandbox", _sandbox)
    yield _guarded("devices", _devices)
    yield _rendering()


def _guarded(what: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:  # a broken package may raise anything
        return Finding(
            "fail", what, f"{type(error).__name__}: {error}", "install the package again"
        )


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("ok", "Python", found)


def _numbers(version: str) -> tuple[int, ...]:
    parts = []
    for part in version.split("+")[0].split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)


def _package(name: str) -> Finding:
    low, high = KNOWN_TO_WORK[name]
    wanted = f"{name}>={low}" + (f",<{high}" if high else "")
    advice = f"pip install '{wanted}'"
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding("fail", name, "not installed", advice)
    if _numbers(found) < _numbers(low) or (high and _numbers(found) >= _numbers(high)):
        return Finding("fail", name, f"{found}, outside {wanted}", advice)
    return Finding("ok", name, found)


def _cores() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"{usable} of {os.cpu_count()} usable"
    limit = os.environ.get("OMP_NUM_THREADS")
    return Finding("ok", "cores", found + (f", OMP_NUM_THREADS={limit}" if limit else ""))


def _folder(runs: Path) -> Iterator[Finding]:
    place = runs.resolve()
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        advice = "choose another folder with --runs"
        yield Finding("fail", "runs folder", f"{runs}: {error.strerror}", advice)
        return
    free = shutil.disk_usage(place).free / 2**30
    if free < LOW_DISK_GIB:
        advice = f"free {LOW_DISK_GIB:.0f} GiB, or choose another folder with --runs"
        yield Finding(
            "warn", "runs folder", f"{runs} is writable, only {free:.1f} GiB free", advice
        )
    else:
        yield Finding("ok", "runs folder", f"{runs} is writable, {free:.0f} GiB free")


def _compiler() -> Finding:
    from pgbench.runs.plan import COMPILERS

    for name in COMPILERS:
        if found := shutil.which(name):
            return Finding("ok", "C++ compiler", found)
    advice = "runs work, long ones are slower on the CPU; install g++ or clang++"
    return Finding("warn", "C++ compiler", "none: no torch.compile on the CPU", advice)


def _video() -> Finding:
    missing = [m for m in ("imageio", "imageio_ffmpeg") if importlib.util.find_spec(m) is None]
    if missing:
        advice = f"for films: {install('video')}"
        return Finding("warn", "video", f"{', '.join(missing)} not installed", advice)
    return Finding("ok", "video", "imageio and ffmpeg are there")


def _sandbox() -> Finding:
    from pgbench.verify.sandbox import BACKENDS, reason_against

    reasons = {name: reason_against(name) for name in BACKENDS[:2]}
    fit = [name for name, reason in reasons.items() if not reason]
    if fit:
        return Finding("ok", "code sandbox", f"{' and '.join(fit)} can fence submissions in")
    advice = "to judge code: apt-get install bubblewrap, or allow user namespaces"
    return Finding("warn", "code sandbox", "; ".join(map(str, reasons.values())), advice)


def _text() -> Finding:
    names = ("transformers", "tokenizers", "math_verify", "reasoning_gym")
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        advice = f"for language models: {install('text')}"
        return Finding("warn", "text", f"{', '.join(missing)} not installed", advice)
    return Finding("ok", "text", f"transformers {importlib.metadata.version('transformers')}")


def _devices() -> Finding:
    import torch

    cuda = torch.version.cuda
    build = f"torch built for {f'CUDA {cuda}' if cuda else 'the CPU'}"
    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi"):
            advice = "there is a GPU driver: install a CUDA build of torch that fits it"
            return Finding("warn", "devices", f"cpu only, {build}", advice)
        return Finding("ok", "devices", f"cpu, {build}")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Finding("ok", "devices", f"cpu, {', '.join(names)}, {build}")


def _rendering() -> Finding:
    """Render in another process: a missing or wrong driver may kill it."""
    chosen = os.environ.get("MUJOCO_GL")
    tried = [chosen] if chosen else ["egl", "osmesa", "glfw"]
    for name in tried:
        try:
            done = subprocess.run(
                [sys.executable, "-c", RENDER],
                env={**os.environ, "MUJOCO_GL": name},
                capture_output=True,
                timeout=60,
            )
        except subprocess.TimeoutExpired:
            continue
        if done.returncode == 0:
            if chosen or name == "egl":  # what films use unless told otherwise
                return Finding("ok", "rendering", f"MuJoCo renders with {name}")
            found = f"MuJoCo renders with {name}, not with egl"
            return Finding("warn", "rendering", found, f"for films: export MUJOCO_GL={name}")
    advice = (
        "training needs none; for films install OpenGL without a screen "
        "(Debian: apt-get install libegl1 or libosmesa6) and set MUJOCO_GL=egl or osmesa"
    )
    return Finding("warn", "rendering", f"MuJoCo cannot render ({', '.join(tried)} tried)", advice)
