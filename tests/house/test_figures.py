"""docs/inventory.md: its pictures (whole SVG, the same bytes twice), its numbers, its code."""

import dataclasses
import importlib
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import pgbench
from pgbench.errors import PgbenchError
from pgbench.records.ledger import add_entries
from pgbench.records.record import Entry

ROOT = Path(__file__).resolve().parents[2]
TRACKS = ("lost-sales-50m", "serial-50m", "transshipment-2m", "warehouse-2m")


@pytest.fixture(scope="module")
def figures():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs" / "figures")
        yield importlib.import_module("inventory")
    for name in ("inventory", "lost_sales"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def lost_sales(figures):
    return importlib.import_module("lost_sales")


@pytest.fixture(scope="module")
def suite(figures):
    return figures.find_suite(figures.SUITE, ROOT / "leaderboards")


@pytest.fixture
def drawing():
    pytest.importorskip("matplotlib")


def made_up(figures, suite, score=lambda env, label, seed: 1.0 + seed):
    """Results with a score for every cell of some of the suite's tracks."""
    suite = dataclasses.replace(suite, tracks=[t for t in suite.tracks if t.name in TRACKS])
    scores = {}
    for cell in suite.cells():
        run = scores.setdefault((cell.track.name, cell.env.id, cell.entry.label), {})
        run[cell.seed] = score(cell.env.id, cell.entry.label, cell.seed)
    return figures.Results(suite, scores)


def check_svg(data):
    root = ET.fromstring(data)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert {"width", "height", "viewBox"} <= set(root.attrib)
    assert b"dc:date" not in data


def words(data):
    """The text of a picture; matplotlib writes each line of it as a comment over its outlines."""
    return " ".join(" ".join(re.findall(r"<!-- (.*?) -->", data.decode(), re.S)).split())


@pytest.fixture
def hdpo(make_record, suite):
    """`hdpo(env, label, seed, score)`: a record of the suite's entry; no score: it diverged."""

    def make(env, label, seed, score=0.5):
        track = next(
            t for t in suite.tracks
            if env in t.environments and label in {e.label for e in t.entries}
        )  # fmt: skip
        entry = next(e for e in track.entries if e.label == label)
        anchor = suite.environments[env]
        return make_record(
            algo=entry.algo, seed=seed, env=anchor.version, budget=track.budget,
            golden=anchor.golden, config=dict(entry.settings), changed=entry.settings,
            scores=[score] * 8 if score is not None else [1.0] * 8,
            status="failed" if score is None else "finished", direction="min",
            changes={"identity.config": {"lr": 0.1, "hidden": [64, 64], **entry.settings}},
        )  # fmt: skip

    return make


def test_scores_of_the_suites_entries(figures, suite, hdpo):
    env, label = "transshipment-5", "hdpo, gnn, 128 traces"
    records = [hdpo(env, label, 0, 0.75), hdpo(env, label, 1, None)]
    foreign = hdpo(env, label, 0, 9.0)
    foreign["algorithm"]["config"]["traces"] = 77
    elsewhere = hdpo(env, label, 0, 9.0)
    elsewhere["environment"]["id"] = "toy-v0"
    found = figures.collect([*records, foreign, elsewhere], suite)
    # The failed run has the floor, twice the bound: a gap of 100%.
    assert found.scores == {("transshipment-2m", env, label): {0: 0.75, 1: 100.0}}
    track = next(t for t in suite.tracks if t.name == "transshipment-2m")
    assert found.missing([track]) == (22, 24)


@pytest.mark.parametrize("name", ["traces_svg", "gaps_svg"])
def test_whole_pictures(figures, suite, drawing, name):
    draw = getattr(figures, name)
    data = draw(made_up(figures, suite))
    check_svg(data)
    assert data == draw(made_up(figures, suite))
    assert "Missing" not in words(data)


def test_traces_name_what_is_missing(figures, suite, drawing):
    found = made_up(figures, suite)
    found.scores.pop(("transshipment-2m", "transshipment-5", "hdpo, gnn, 128 traces"))
    found.scores["transshipment-2m", "transshipment-3", "hdpo, vanilla, 1024 traces"].pop(1)
    for key in [key for key in found.scores if key[1] == "one-warehouse-10"]:
        found.scores.pop(key)
    data = figures.traces_svg(found)
    check_svg(data)
    text = words(data)
    for part in ("transshipment-5 gnn 128 (2)", "transshipment-3 vanilla 1024 (1)"):
        assert part in text
    assert "all of one-warehouse-10" in text


def test_gaps_print_the_mean_and_what_is_missing(figures, suite, drawing):
    found = made_up(figures, suite, lambda env, label, seed: 0.25 if seed else 0.125)
    assert b"<!-- 0.21 -->" in figures.gaps_svg(found)  # of 3 seeds; two serial ones have 0.19
    found.scores.pop(("lost-sales-50m", "one-store-lost-sales-p9-l2", "hdpo, vanilla"))
    found.scores["serial-50m", "serial-system-p4-l1", "hdpo, vanilla"].pop(1)
    data = figures.gaps_svg(found)
    check_svg(data)
    assert b"<!-- - -->" in data and b"<!-- 0.12 1/2 -->" in data
    assert b"Missing: 4 of 208 runs" in data


@pytest.fixture(scope="module")
def store():
    return pgbench.make("one-store-lost-sales", num_envs=1, penalty=9.0, lead_time=2)


def optimal(env):
    import torch

    return lambda obs: env.guide.orders(torch.from_numpy(obs.T)).T.numpy()


def test_the_chain_costs_what_value_iteration_says(lost_sales, store):
    policy = optimal(store)

    def orders(held):
        obs = np.zeros((len(held), store.network.size), np.float32)
        obs[:, : held.shape[1]] = held
        return policy(obs)[:, 0].astype(np.int64)

    chain = lost_sales.LostSales(5.0, 9.0, 1.0, 2)
    assert chain.cost(orders) == pytest.approx(store.optimum.value, rel=1e-5)
    # Never ordering loses all demand.
    assert chain.cost(lambda held: np.zeros(len(held), np.int64)) == pytest.approx(45)
    states, share = chain.visits(orders)
    assert share.sum() == pytest.approx(1) and states.shape == (len(share), 2)


@pytest.mark.parametrize(
    ("penalty", "lead", "base", "capped"),
    [(9, 2, (19, 6.31), (19, 6, 6.12)), (4, 1, (12, 4.16), (12, 6, 4.06))],
)  # the same optima as in tests/envs/inventory/test_lost_sales.py, found there by simulation
def test_the_best_heuristics(lost_sales, penalty, lead, base, capped):
    env = pgbench.make("one-store-lost-sales", num_envs=1, penalty=float(penalty), lead_time=lead)
    found = lost_sales.curves(env, optimal(env), "optimal")
    least = env.optimum.value
    assert found.base[0] == base[0] and found.capped[:2] == capped[:2]
    assert found.base[1] == pytest.approx(100 * (base[1] / least - 1), abs=0.5)
    assert found.capped[2] == pytest.approx(100 * (capped[2] / least - 1), abs=0.5)
    for learned, exact in zip(found.learned, found.optimal, strict=True):
        assert (learned == exact).all()
    assert found.pipelines == ([(0,), (4,), (8,)] if lead == 2 else [()])
    share = [0.0 if visit is None else visit[0] for visit in found.visits]
    assert sum(share) == pytest.approx(1) if lead == 1 else 0 < sum(share) < 1


def test_order_curves(figures, lost_sales, store, drawing):
    found = lost_sales.curves(store, lambda obs: optimal(store)(obs) + 0.3, "shifted")
    data = figures.orders_svg(found)
    check_svg(data)
    assert data == figures.orders_svg(found)
    assert b"best base stock: S 19" in data and b"8 on the way (never reached)" in data


def test_orders_need_lost_sales(lost_sales):
    env = pgbench.make("one-store-backlogged", num_envs=1)
    with pytest.raises(PgbenchError, match="one-store-lost-sales"):
        lost_sales.curves(env, lambda obs: obs[:, :1], "")


def test_the_command(figures, drawing, hdpo, tmp_path, capsys):
    assert figures.main(["orders"]) == 2
    assert "folder of a run" in capsys.readouterr().err
    root = tmp_path / "boards"
    shutil.copytree(ROOT / "leaderboards" / "suites", root / "suites")
    assert figures.main(["gaps", "--root", str(root), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: there is no board inventory-v1")
    records = [hdpo("one-warehouse-3", "hdpo, gnn, 128 traces", seed, 5.7) for seed in (0, 1)]
    add_entries(root / "records" / figures.SUITE, [Entry(record, "here") for record in records])
    for what in ("traces", "gaps"):
        assert figures.main([what, "--root", str(root), "--out", str(tmp_path)]) == 0
        check_svg((tmp_path / f"inventory-{what}.svg").read_bytes())
    text = words((tmp_path / "inventory-traces.svg").read_bytes())
    assert "one-warehouse-3 gnn 1024 (2)" in text and "one-warehouse-3 gnn 128" not in text


# The numbers and the code of the page itself.

PAGE = ROOT / "docs" / "inventory.md"


def rows(first):
    """Cells of the table whose head starts with `first`, the head included."""
    table = PAGE.read_text().partition(f"| {first}")[2].partition("\n\n")[0]
    lines = [line for line in f"| {first}{table}".splitlines() if not line.startswith("| --")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def optimum(env, **kwargs):
    return f"{pgbench.make(env, **kwargs).optimum.value:.4f}"


@pytest.mark.parametrize(
    ("head", "env"),
    [
        ("lost sales, L", "one-store-lost-sales"), ("backlog, L", "one-store-backlogged"),
        pytest.param("serial, store's L", "serial-system", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_printed_optima(head, env):
    (_, *penalties), *lines = rows(head)
    assert [int(p) for p in penalties] == [4, 9, 19, 39]
    assert len(lines) == (6 if env == "one-store-backlogged" else 4)
    for lead, *printed in lines:
        found = [optimum(env, penalty=float(p), lead_time=int(lead)) for p in penalties]
        assert printed == found


@pytest.mark.parametrize(
    ("head", "env", "key"),
    [
        ("stores of transshipment", "transshipment", "stores"),
        pytest.param("locations of a serial", "serial-system", "locations", marks=pytest.mark.slow),
    ],
)
def test_printed_optima_by_size(head, env, key):
    (_, *sizes), (_, *printed) = rows(head)
    assert printed == [optimum(env, **{key: int(size)}) for size in sizes]


def test_the_code_on_the_page_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, {})
    assert "relative value iteration" in capsys.readouterr().out


def test_the_page_names_the_file_and_the_pictures():
    from pgbench.envs.inventory.recorded import FAVORITA_21

    text = PAGE.read_text()
    assert f"SHA-256 ({FAVORITA_21[:8]}...)" in text
    assert set(re.findall(r"inventory-(\w+)\.svg", text)) == {"traces", "gaps", "orders"}
