"""Files that are whole or absent: temporary file, fsync, rename; and one process a folder."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pgbench.errors import PgbenchError

HELD = "another process is working in"
# What a file system says that has no locks (NFS with nolock, Lustre without -o flock, some FUSE).
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Replace `path` by `data`: a reader sees the old or the new file, never a part.

    Raises: PgbenchError if the disk is full or the folder cannot be written; `path` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno not in NO_LOCKS:  # some file systems cannot sync a folder
                raise
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> PgbenchError:
    """The one line for a failed write."""
    return PgbenchError(
        f"cannot write {path}: {error.strerror or error}; free space or choose another "
        "folder, then give the same command again; what was saved before is whole"
    )


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON (no NaN)."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def read_bytes(path: Path) -> bytes:
    """What is in a file.

    Raises: PgbenchError naming it if it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise PgbenchError(f"there is no file {path}") from error
    except OSError as error:
        raise PgbenchError(f"cannot read {path}: {error.strerror}") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises: PgbenchError naming the file if it is missing or no JSON.
    """
    try:
        return json.loads(read_bytes(path).decode())
    except (ValueError, RecursionError) as error:
        raise PgbenchError(
            f"{path} is not valid JSON ({error}); it was not written by pgbench"
        ) from error


def save_tensors(path: Path, value: Any) -> None:
    """Replace `path` by `value`: nested dicts and lists of tensors, arrays and plain values."""
    import torch

    buffer = io.BytesIO()
    torch.save(_map_arrays(value, pack=True), buffer)
    write_bytes(path, buffer.getbuffer())


def load_tensors(path: Path) -> Any:
    """What `save_tensors` wrote; nothing in the file is executed.

    Raises: PgbenchError if the file is damaged.
    """
    import torch

    if not path.exists():
        raise PgbenchError(f"there is no file {path}")
    with whole(path):
        return _map_arrays(torch.load(path, map_location="cpu", weights_only=True), pack=False)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[None]:
    """Take what was saved in `path`: whatever goes wrong inside, the file is damaged.

    What is missing, or of another type, is met where it is used, as errors of many kinds.

    Raises: PgbenchError naming the file; one from inside passes as it is.
    """
    try:
        yield
    except (PgbenchError, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # of a device
            raise
        raise PgbenchError(
            f"{path} is damaged, or was saved by other code ({type(error).__name__}: {error}); "
            "start this run again with --fresh"
        ) from error


def _map_arrays(value: Any, pack: bool) -> Any:
    """NumPy arrays as tagged tensors (`pack`) or back: the safe loader knows tensors only."""
    import numpy as np
    import torch

    if pack and isinstance(value, np.ndarray):
        return {"__array__": torch.from_numpy(np.ascontiguousarray(value))}
    if pack and isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        if not pack and set(value) == {"__array__"}:
            return value["__array__"].numpy()
        return {key: _map_arrays(item, pack) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_arrays(item, pack) for item in value]
    return value


def is_held(folder: Path) -> bool:
    """Whether a living process works in `folder` (see `only_process`)."""
    try:
        with only_process(folder):
            return False
    except PgbenchError:
        return True


def lock(file: IO[Any], wait: bool = True) -> None:
    """Lock an open file until it is closed; where there are no locks, say so once and go on.

    Raises: BlockingIOError if it is held and `wait` is false; OSError for anything unexpected.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system: no lock to be had
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        warnings.warn(
            f"{Path(file.name).parent}: this file system has no locks ({error.strerror}), so "
            "nothing keeps a second process out: start one at a time there",
            RuntimeWarning,
            stacklevel=2,
        )


@contextlib.contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; the kernel frees it when the process dies, however it dies.

    Raises: PgbenchError if another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "w")  # noqa: SIM115
    except OSError as error:
        raise cannot_write(folder, error) from error
    with file:
        try:
            lock(file, wait=False)
        except BlockingIOError as error:
            raise PgbenchError(f"{HELD} {folder}; wait for it to end") from error
        except OSError as error:
            raise cannot_write(folder, error) from error
        for leftover in folder.rglob(".*.tmp"):  # of a write that a kill cut off
            leftover.unlink(missing_ok=True)
        yield
