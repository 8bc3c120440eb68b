"""Claims files on the suite of toys, and runs that speak to them."""

import pytest

from pgbench.records import ledger
from pgbench.records.record import Entry
from pgbench.records.rules import obey, verify
from pgbench.records.suite import find_suite


@pytest.fixture
def write_claims(suite_file):
    """Write a suite and a claims file on it; returns the folder of the boards."""

    def write(text, name="ppo"):
        root = suite_file().parents[1]
        (root / "claims").mkdir(exist_ok=True)
        (root / "claims" / f"{name}.toml").write_text(text)
        return root

    return write


@pytest.fixture
def add_runs(make_record):
    """Add the runs of both rows to toy-v1: scores by environment and row; None is a failed run."""

    def add(root, scores, direction="max"):
        entries = []
        for (env, row), values in scores.items():
            fast = row == "ppo, fast"
            kwargs = {"wind": 1} if env == "other" else {}
            for seed, score in enumerate(values):
                record = make_record(
                    seed=seed,
                    scores=(0.0, 0.0) if score is None else (score - 1, score + 1),
                    env=f"{env}-v0",
                    status="failed" if score is None else "finished",
                    config={"lr": {"toy": 0.2, "other": 0.3}[env]} if fast else {},
                    changed=("lr",) if fast else (),
                    direction=direction,
                    changes={"environment.kwargs": kwargs, "identity.env_kwargs": kwargs},
                )
                entries.append(Entry(record, f"{env} {row} {seed}"))
        suite = find_suite("toy-v1", root)
        return ledger.add_entries(
            root / "records/toy-v1", entries, lambda r, w: ledger_rule(r, suite, w)
        )

    return add


def ledger_rule(record, suite, where):
    verify(record, where)
    obey(record, suite, where)
