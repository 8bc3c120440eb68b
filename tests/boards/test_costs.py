"""Costs of a suite's runs, from records."""

import pytest

from pgbench.boards.costs import total, wall_time, wall_times
from pgbench.records.suite import read_suite


def test_worked_costs(make_record, suite_file):
    suite = read_suite(suite_file())
    walls = {0: 3.0, 1: 5.0, 2: 10.0}
    records = [
        make_record("ppo", seed, changes={"cost.wall_s": wall}) for seed, wall in walls.items()
    ]
    records.append(make_record("ppo", 3, status="failed", changes={"cost.wall_s": 900.0}))
    times = wall_times(suite, records)
    assert times == {("long", "ppo", "toy"): 5.0}
    cells = list(suite.cells())
    fast = next(cell for cell in cells if cell.entry.label == "ppo, fast")
    assert wall_time(times, fast) == 5.0  # as the other row there
    # long: 3 seeds of 2 rows in toy are known, as many in other are not, nor is the short track.
    assert total(times, cells) == (pytest.approx(30.0), 7)
