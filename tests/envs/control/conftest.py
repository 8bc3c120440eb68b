"""MuJoCo writes its warnings into a file in the working directory: keep it out of the checkout."""

import pytest


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
