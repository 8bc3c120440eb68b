"""Files are whole or absent, whatever happens in between; one process a folder."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from pgbench.errors import PgbenchError
from pgbench.support.files import (
    load_tensors,
    only_process,
    read_json,
    save_tensors,
    write_bytes,
    write_json,
)

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


def python(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


def test_json_round_trip(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"é": [1, 0.1, None]})
    assert read_json(path) == {"é": [1, 0.1, None]}
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, float("inf"))
    assert read_json(path) == {"é": [1, 0.1, None]}


def test_unreadable_json(tmp_path):
    (tmp_path / "a.json").write_text('{"half": ')
    for path, pattern in (
        (tmp_path / "a.json", "not valid JSON"),
        (tmp_path / "none.json", "there is no file"),
        (tmp_path, "cannot read"),
    ):
        with pytest.raises(PgbenchError, match=pattern):
            read_json(path)


CRASH = """
import os, sys
from pathlib import Path
from pgbench.support import files
def die(*a): os._exit(9)
setattr(files.os, sys.argv[2], die)
files.write_bytes(Path(sys.argv[1]), b"new" * 10000)
"""


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_death_in_the_middle_leaves_the_old_file(tmp_path, moment):
    path = tmp_path / "a"
    write_bytes(path, b"old")
    assert python(CRASH, str(path), moment).returncode == 9
    assert path.read_bytes() == b"old"
    write_bytes(path, b"newer")
    assert path.read_bytes() == b"newer"


FULL = """
import resource, sys
from pathlib import Path
from pgbench.errors import PgbenchError
from pgbench.support.files import write_bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_bytes(Path(sys.argv[1]), b"x" * 100000)
except PgbenchError as error:
    print(error)
"""


@posix
def test_no_room_is_one_line_and_leaves_the_old_file(tmp_path):
    """The kernel refuses to let the file grow, as it does on a full disk."""
    path = tmp_path / "a"
    write_bytes(path, b"old")
    done = python(FULL, str(path))
    assert "cannot write" in done.stdout
    assert done.stdout.count("\n") == 1
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_where_a_folder_must_be(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(PgbenchError, match="cannot write"):
        write_bytes(tmp_path / "a" / "b", b"")
    with pytest.raises(PgbenchError, match="cannot write"), only_process(tmp_path / "a"):
        pass


def test_tensors_round_trip(tmp_path):
    path = tmp_path / "s.pt"
    array = np.arange(6, dtype=np.float64).reshape(2, 3)[:, ::2]
    save_tensors(path, {"a": [torch.eye(2), array], "b": {"c": np.float32(2), "d": None}})
    back = load_tensors(path)
    assert torch.equal(back["a"][0], torch.eye(2))
    assert isinstance(back["a"][1], np.ndarray)
    assert np.array_equal(back["a"][1], array)
    assert back["b"] == {"c": 2.0, "d": None}


def test_damaged_tensors(tmp_path):
    path = tmp_path / "s.pt"
    save_tensors(path, {"a": torch.eye(50)})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(PgbenchError, match=r"is damaged.*--fresh"):
        load_tensors(path)
    torch.save({"a": os.system}, path)  # code is not run, it is refused
    with pytest.raises(PgbenchError, match="is damaged"):
        load_tensors(path)
    with pytest.raises(PgbenchError, match="there is no file"):
        load_tensors(tmp_path / "none.pt")


HOLD = """
import sys, time
from pathlib import Path
from pgbench.support.files import only_process
with only_process(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@posix
def test_one_process_a_folder_freed_by_death(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(PgbenchError, match="another process"), only_process(tmp_path):
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
    with only_process(tmp_path):
        pass


@posix
@pytest.mark.parametrize("code", ["ENOLCK", "ENOTSUP"])
def test_a_file_system_without_locks_warns_and_works(tmp_path, monkeypatch, code):
    import fcntl

    def refuse(*_):
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.warns(RuntimeWarning, match=f"{tmp_path}.*has no locks.*one at a time"),
        only_process(tmp_path),
    ):
        write_json(tmp_path / "a.json", 1)
    assert read_json(tmp_path / "a.json") == 1


@posix
def test_any_other_refusal_of_a_lock_is_one_line(tmp_path, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(PgbenchError, match="Input/output error"), only_process(tmp_path):
        pass
