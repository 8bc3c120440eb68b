"""A pool of worker processes whose jobs have a hard deadline.

The deadline is processor time, so that no verdict depends on what else the machine does. The
kernel keeps it (ITIMER_PROF in pgbench/verify/worker.py) and ends the process that overruns it:
nothing inside (a long multiplication that holds the interpreter, a library that catches
exceptions) can put that off. The next job gets a copy of a process that has its libraries loaded.
A worker that does not even use its time (stopped, swapped out) is killed after WALL seconds.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError

START = 300.0  # seconds that a process may take to import its libraries on a loaded machine
WALL = 300.0  # seconds of wall time that a job may take beyond 60 times its processor time
TIMEOUT = object()  # result of a job that overran its deadline
DIED = object()  # result of a job whose worker ended by itself or got stuck
ENDS = {"timeout": TIMEOUT, "died": DIED}


class _Job:
    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.result: Any = None
        self.dropped = False  # nobody waits for it any more
        self.done = threading.Event()


class _Worker:
    """One process and the thread that feeds it.

    The thread starts its own process: the kernel's parent-death signal follows the thread that
    forked, so a process started by a thread that ends would end with it.
    """

    def __init__(self, jobs: queue.SimpleQueue[_Job | None], deadline: float) -> None:
        self.jobs, self.deadline = jobs, deadline
        self.process: subprocess.Popen[bytes] | None = None
        self.served = 0  # jobs of the copy that serves now
        self.asked = 0  # jobs of all, the number of the last one
        self.rest = b""  # read, but of the next line
        self.killed = 0
        self.fresh = True
        self.thread = threading.Thread(target=self._run, name="pgbench-verify", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while (job := self.jobs.get()) is not None:
            if job.dropped:
                continue
            try:
                job.result = self._do(job.request)
            except Exception as error:  # the waiting thread must hear of it, whatever it is
                job.result = error
            job.done.set()
        self._end()

    def _do(self, request: dict[str, Any]) -> Any:
        result = self._attempt(request)
        if result is DIED and not self.fresh:
            # It may have ended for what an earlier job left behind; a new process tells.
            result = self._attempt(request)
        return result

    def _attempt(self, request: dict[str, Any]) -> Any:
        if self.process is None or self.process.poll() is not None:
            self._end()
            self._start()
        process = self.process
        assert process is not None and process.stdin is not None
        self.fresh = self.served == 0
        self.served += 1
        self.asked += 1
        try:
            process.stdin.write(json.dumps({"id": self.asked, **request}).encode() + b"\n")
            process.stdin.flush()
        except OSError:
            self._end()
            return DIED
        until = time.monotonic() + WALL + 60 * self.deadline
        while True:
            line = self._line(until)
            if not line:
                self._end()  # it ended, or it is stuck
                return DIED
            said = json.loads(line)
            if isinstance(said, str):
                self.served = 0
                self.killed += said == "timeout"
                return ENDS[said]
            if said[0] == self.asked:  # and not late, of a job that was given up
                return said[1]

    def _line(self, until: float) -> bytes | None:
        """One line from the process; None after that time, empty if the process ended."""
        assert self.process is not None and self.process.stdout is not None
        file = self.process.stdout.fileno()
        ready = select.poll()  # unlike select.select it takes any descriptor
        ready.register(file, select.POLLIN)
        line, self.rest = self.rest, b""
        while b"\n" not in line:
            # A thread that slept longer than it meant to still takes an answer that is there.
            left = max(until - time.monotonic(), 0.0)
            if not ready.poll(math.ceil(left * 1000)):
                return None
            part = os.read(file, 65536)
            if not part:
                return b""
            line += part
        line, _, self.rest = line.partition(b"\n")
        return line

    def _start(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, "-P", "-m", "pgbench.verify.worker", str(os.getpid()),
                   str(self.deadline)]  # fmt: skip
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment, bufsize=0,
        )  # fmt: skip
        self.served, self.rest = 0, b""
        line = self._line(time.monotonic() + START)
        if not line:
            self._end()
            raise PgbenchError(
                "a worker of the math verifier does not start; see what is wrong with: "
                f"{sys.executable} -m pgbench.verify.worker {os.getpid()} 1"
            )

    def _end(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for file in (process.stdin, process.stdout):
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()


class Pool:
    """`workers` processes that answer requests in any order, each within `deadline` seconds of
    processor time.

    Processes start with the first jobs and live until `close`.
    """

    def __init__(self, workers: int, deadline: float) -> None:
        self.size, self.deadline = workers, deadline
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.workers: list[_Worker] = []
        self.lock = threading.Lock()
        self.closed = False
        self.pid = os.getpid()

    def run(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        """Answers in order; TIMEOUT or DIED where there is none.

        Raises: PgbenchError if the pool is closed, was made before a fork, or cannot start.
        """
        jobs = [_Job(request) for request in requests]
        with self.lock:
            if self.closed:
                raise PgbenchError("this math verifier is closed; make another")
            if self.pid != os.getpid():
                raise PgbenchError("a math verifier does not survive a fork; make one in the child")
            while len(self.workers) < min(self.size, len(jobs)):
                self.workers.append(_Worker(self.jobs, self.deadline))
            for job in jobs:
                self.jobs.put(job)
        try:
            for job in jobs:
                job.done.wait()
                if isinstance(job.result, Exception):
                    raise job.result
        finally:
            for job in jobs:
                job.dropped = True
        return [job.result for job in jobs]

    @property
    def killed(self) -> int:
        """How many jobs were ended at the deadline."""
        return sum(worker.killed for worker in self.workers)

    def close(self) -> None:
        """Finish the jobs at hand, refuse those that wait, end the processes."""
        with self.lock:
            if self.closed:
                return
            self.closed = True
            workers = list(self.workers)
            with contextlib.suppress(queue.Empty):
                while (job := self.jobs.get_nowait()) is not None:
                    job.result = PgbenchError("the math verifier was closed while it judged")
                    job.done.set()
        for _ in workers:
            self.jobs.put(None)
        if self.pid == os.getpid():
            for worker in workers:
                worker.thread.join()
