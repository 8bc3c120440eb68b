"""Jobs on a Ray cluster: one actor a job, which runs the command on its node."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError

from .worker import STOPPED, lost, start

OPTIONS = ("num_cpus", "num_gpus")  # of one job
ACCEPT_S, ANSWER_S = 3.0, 20.0  # how long a cluster may take to accept a connection, to answer
QUIET: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
# Where something else listens, ray.init tries for minutes: a process that can end tries first.
PROBE = "import ray, sys; ray.init(sys.argv[1], logging_level='error', log_to_driver=False)"


class RayLauncher:
    """The cluster at `address` (`host:port`, `ray://host:port`, `auto`), or one for this bench."""

    def __init__(self, jobs: int | None, address: str | None, options: Mapping[str, str]) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        cpus, gpus = _number(options, "num_cpus", 1.0), _number(options, "num_gpus", 0.0)
        self.connected = not ray.is_initialized()
        if self.connected:
            with _well_behaved():
                if address is None:
                    _start(math.ceil((jobs or os.cpu_count() or 1) * cpus))
                else:
                    _connect(address)
        api: Any = ray  # not all of it is typed
        has = api.cluster_resources()
        needs = {"CPU": cpus, "GPU": gpus}
        room = min(int(has.get(kind, 0.0) // need) for kind, need in needs.items() if need)
        if room < 1 and (jobs is None or address is None):  # else it may grow on demand
            self.close()
            wants = ", ".join(f"{need:g} {kind}" for kind, need in needs.items() if need)
            there = ", ".join(f"{has.get(kind, 0.0):g} {kind}" for kind in needs)
            raise PgbenchError(f"a job asks for {wants}, the Ray cluster has {there}")
        self.slots = jobs or room
        self.actor = ray.remote(Job).options(num_cpus=cpus, num_gpus=gpus, max_concurrency=2)

    def submit(self, command: Sequence[str], log: Path) -> RayHandle:
        """Queue `command`; it runs in this process's working folder, on the node Ray chooses."""
        log = log.absolute()
        log.parent.mkdir(parents=True, exist_ok=True)
        return RayHandle(self.actor.remote(), list(command), log)

    def close(self) -> None:
        """Leave the cluster, which ends one that was started here, and this bench's jobs on it."""
        import ray

        if self.connected:
            ray.shutdown()


class Job:
    """The actor: `run` holds one of its two threads, the other answers."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped, self.lock = False, threading.Lock()

    def node(self) -> str:
        """The address of the node that runs the job."""
        import ray

        util: Any = ray.util  # untyped
        return str(util.get_node_ip_address())

    def run(self, command: list[str], log: Path, folder: Path) -> int:
        """Run `command` to its end and return its exit code."""
        with self.lock:
            if self.stopped:
                return STOPPED
            self.process = start(command, log, folder)
        return self.process.wait()

    def stop(self) -> None:
        """Ask the process to stop."""
        with self.lock:
            self.stopped = True
            if self.process:
                self.process.terminate()

    def kill(self) -> None:
        """Kill the process and its guard, which share a session."""
        with self.lock:
            if self.process and self.process.returncode is None:
                os.killpg(self.process.pid, signal.SIGKILL)


class RayHandle:
    """An actor and what its `run` will return."""

    def __init__(self, actor: Any, command: list[str], log: Path) -> None:
        self.actor, self.log = actor, log
        self.node = actor.node.remote()
        self.code = actor.run.remote(command, log, Path.cwd())
        self.ended: int | None = None

    @property
    def where(self) -> str:
        """`node` and its address once Ray has found one."""
        import ray

        if not ray.wait([self.node], timeout=0)[0]:
            return "queued"
        try:
            return f"node {ray.get(self.node)}"
        except ray.exceptions.RayError:
            return "lost"

    def poll(self) -> int | None:
        """See `Handle`."""
        import ray

        if self.ended is None and ray.wait([self.code], timeout=0)[0]:
            try:
                self.ended = int(ray.get(self.code))
            except ray.exceptions.RayError as error:
                self.ended = lost(self.log, " ".join(str(error).split()))
            ray.kill(self.actor)  # frees its CPU for the next job at once
        return self.ended

    def stop(self) -> None:
        """See `Handle`; a job that still waits for a node is withdrawn."""
        import ray

        if self.poll() is None and self.where == "queued":
            ray.kill(self.actor)
            self.ended = STOPPED
        elif self.ended is None:
            self.actor.stop.remote()

    def kill(self) -> None:
        """See `Handle`."""
        if self.poll() is None:
            self.actor.kill.remote()


def _start(cpus: int) -> None:
    """A cluster on this machine, which ends with this process."""
    import ray

    try:
        ray.init("local", num_cpus=cpus, include_dashboard=False, **QUIET)
    except Exception as error:  # of that very type, where a node is slow to come up
        why = " ".join(str(error).split()) or type(error).__name__
        raise PgbenchError(f"Ray did not start on this machine: {why}") from error


def _connect(address: str) -> None:
    """`ray.init`, but a cluster that does not answer is an error within seconds, not minutes."""
    import ray

    if address != "auto":
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if not host or not port.isdecimal():
            raise PgbenchError(
                f"a Ray address is auto, host:port or ray://host:port, not '{address}'"
            )
        try:
            socket.create_connection((host.strip("[]"), int(port)), ACCEPT_S).close()
        except (OSError, OverflowError) as error:
            raise PgbenchError(
                f"no Ray cluster answers at {address} ({error}); "
                "start one with `ray start --head`, or leave the address out"
            ) from error
    try:
        if not address.startswith("ray://"):  # those have a time limit: 30 s
            probe = [sys.executable, "-P", "-c", PROBE, address]
            subprocess.run(probe, capture_output=True, timeout=ANSWER_S, check=True)
        with warnings.catch_warnings(action="ignore"):
            ray.init(address, **QUIET)
    except (subprocess.SubprocessError, ConnectionError, RuntimeError, ValueError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
        if "InvalidAuthToken" in said:
            why = "it asks for a token; set RAY_AUTH_MODE=token here as it is set there"
        elif isinstance(error, subprocess.TimeoutExpired):
            why = f"no answer within {ANSWER_S:.0f} s"
        else:
            why = (said or " ".join(str(error).split()) or type(error).__name__).splitlines()[-1]
        raise PgbenchError(f"cannot use the Ray cluster at {address}: {why}") from error


@contextlib.contextmanager
def _well_behaved() -> Iterator[None]:
    """Undo what `ray.init` does to this process.

    It sets a handler of SIGTERM, and prints the deaths of workers on the standard output whatever
    `log_to_driver` says (here they are in the job's log).
    """
    import ray._private.worker as private

    def say_nothing(worker: Any, threads_stopped: threading.Event) -> None:
        return

    handler, private.listen_error_messages = private.listen_error_messages, say_nothing
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        private.listen_error_messages = handler
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _number(options: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(options.get(name, default))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0 and (value or name == "num_gpus")):
        raise PgbenchError(f"option {name} of the launcher ray is a number, not '{options[name]}'")
    return value
