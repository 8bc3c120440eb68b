"""Optima kept in files: found again, computed again where the file is no good, never half."""

import json
import os

import pytest

from pgbench.envs.inventory.optima.cache import cached
from pgbench.errors import PgbenchError

KEY = {"problem": "serial", "penalty": 9.0}


class Work:
    """A computation that counts how often it is done."""

    def __init__(self, value=None):
        self.value, self.count = value or {"cost": 0.1 + 0.2, "levels": (1.5, 2.5)}, 0

    def __call__(self):
        self.count += 1
        return self.value


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PGBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_second_call_reads_the_file(folder):
    work = Work()
    first, second = cached(KEY, work), cached(dict(reversed(KEY.items())), work)
    assert first == second == {"cost": 0.1 + 0.2, "levels": [1.5, 2.5]}
    assert work.count == 1
    (file,) = folder.iterdir()
    assert json.loads(file.read_text())["key"] == KEY


def test_another_key_or_version_is_computed(folder, monkeypatch):
    work = Work()
    cached(KEY, work)
    cached({**KEY, "penalty": 9.5}, work)
    monkeypatch.setattr("pgbench.envs.inventory.optima.cache.VERSION", -1)
    cached(KEY, work)
    assert work.count == len(list(folder.iterdir())) == 3


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b'{"value": {"cost": 1',
        b"\xff\xfe",
        b"[1]",
        b'{"value": {"cost": 1}}',
        b'{"version": NaN, "value": {}}',
    ],
)
def test_a_damaged_file_is_computed_again(folder, damage):
    work = Work()
    value = cached(KEY, work)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage)
    assert cached(KEY, work) == value
    assert (work.count, file.read_bytes()) == (2, whole)


def test_without_a_folder_to_write_in_it_computes(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PGBENCH_CACHE", str(tmp_path / "file"))
    work = Work()
    assert cached(KEY, work) == cached(KEY, work)
    assert work.count == 2


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(folder, monkeypatch):
    cached(KEY, Work())
    (file,) = folder.iterdir()
    file.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert cached(KEY, Work())["levels"] == [1.5, 2.5]
    assert list(folder.iterdir()) == [file]
    assert file.read_bytes() == b"old"


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.delenv("PGBENCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    cached(KEY, Work())
    assert len(list((tmp_path / "xdg/pgbench").iterdir())) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    cached(KEY, Work())
    assert len(list((tmp_path / "home/.cache/pgbench").iterdir())) == 1


def test_an_error_of_the_computation_is_not_kept(folder):
    def fail():
        raise PgbenchError("no")

    with pytest.raises(PgbenchError):
        cached(KEY, fail)
    assert not folder.exists()
