"""A plug-in that was written for 0.1 gets the same objects under the old names."""

import importlib

import pytest

from pgbench.support.moved import WHERE, now


@pytest.mark.parametrize("old", sorted(WHERE))
def test_an_old_name_is_the_new_module(old):
    try:
        new = importlib.import_module(f"pgbench.{WHERE[old]}")
    except ImportError as error:  # of an extra
        pytest.skip(str(error))
    spec = new.__spec__
    with pytest.warns(DeprecationWarning, match=f"pgbench.{WHERE[old]} now"):
        assert importlib.import_module(f"pgbench.{old}") is new
    assert new.__spec__ is spec
    importlib.sys.modules.pop(f"pgbench.{old}")


def test_modules_inside_a_moved_folder_are_not_loaded_twice():
    import pgbench.learning.ops.returns as new

    with pytest.warns(DeprecationWarning):
        assert importlib.import_module("pgbench.ops.returns") is new
    assert now("pgbench.learning.ops.returns") is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("pgbench.ops.nothing")
