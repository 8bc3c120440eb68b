"""Exports, read back by the tools for which they are made."""

import importlib
import json

import numpy as np
import pytest

from pgbench.boards.cite import cite
from pgbench.boards.export import KINDS, export
from pgbench.boards.model import build_model
from pgbench.boards.tables import to_csv, to_latex
from pgbench.errors import PgbenchError
from pgbench.records.suite import read_suite
from pgbench.statistics.intervals import iqm

MDPO = "mdpo (paper form)"


def load(files, name):
    return json.loads(files[name])


def installed(module):
    """`module`, or a skip: some pin old packages, and break on newer ones while importing."""
    try:
        return importlib.import_module(module)
    except Exception as error:
        pytest.skip(f"{module} does not import: {error!r}")


def test_unknown_kind():
    with pytest.raises(PgbenchError, match=r"unknown export 'rlible'; did you mean rliable\?"):
        export({}, "rlible")


@pytest.mark.parametrize("kind", KINDS)
def test_same_model_same_bytes_and_nothing_in_it_changes(sample_model, kind):
    model = sample_model()
    before = json.dumps(model)
    files = export(model, kind)
    assert json.dumps(model) == before
    assert files == export(json.loads(before), kind)
    assert all(content.endswith(b"\n") for content in files.values())


def test_rliable_matrices_of_the_small_board(small_model):
    files = export(small_model, "rliable")
    assert list(files) == ["rliable-200_steps.json"]
    body = load(files, "rliable-200_steps.json")
    assert body["axes"] == ["run", "task"]
    assert body["runs"] == ["seed 0", "seed 1"]
    assert body["tasks"] == ["up-v0", "down-v0"]
    assert body["raw"] == {"ppo": [[1000.0, 0.5], [2000.0, 1.0]], MDPO: [[600.0, 0.5], [0.0, 0.0]]}
    # up: floor 0, reference 2000; down is a cost: floor 1, reference 0. The failed run is at 0.
    assert body["scores"] == {"ppo": [[0.5, 0.5], [1.0, 0.0]], MDPO: [[0.3, 0.5], [0.0, 1.0]]}
    assert body["left_out"] == {"sac": "1 of 2 seeds on up-v0; 0 of 2 seeds on down-v0"}
    assert body["digest"]["results"] == "0123456789abcdef" * 4


def test_rliable_without_anchors_and_without_a_suite(small_model):
    track = small_model["tracks"][0]
    track["seeds"] = 0
    track["environments"][1]["reference"] = None
    body = load(export(small_model, "rliable"), "rliable-200_steps.json")
    assert body["tasks"] == ["up-v0"]
    assert body["scores"]["ppo"] == [[0.5], [1.0]]
    assert body["raw"]["ppo"] == [[1000.0, 0.5], [2000.0, 1.0]]
    assert set(body["left_out"]) == {"sac", "down-v0"}
    track["environments"][0]["floor"] = None
    assert load(export(small_model, "rliable"), "rliable-200_steps.json")["scores"] == {}


def test_failed_run_without_a_score_leaves_its_row_out(small_model):
    small_model["tracks"][0]["tasks"]["up-v0"][1]["scores"][1]["score"] = None
    body = load(export(small_model, "rliable"), "rliable-200_steps.json")
    assert list(body["raw"]) == ["ppo"]
    assert body["left_out"][MDPO] == "1 of 2 seeds on up-v0"


def test_rliable_computes_this_boards_figures(sample_model):
    metrics = installed("rliable.metrics")
    model = sample_model()
    for track in model["tracks"]:
        body = load(export(model, "rliable"), f"rliable-{track['name']}.json")
        scores = {name: np.array(matrix) for name, matrix in body["scores"].items()}
        assert len(scores) == 5
        assert list(body["left_out"]) == ["awr"]
        for row in track["rows"]:
            if row["complete"]:
                matrix = scores[row["name"]]
                assert matrix.shape == (10, len(track["environments"]))
                assert metrics.aggregate_iqm(matrix) == pytest.approx(row["iqm"][0], abs=1e-12)
                assert metrics.aggregate_iqm(matrix) == pytest.approx(iqm(matrix.ravel()))
                assert metrics.aggregate_mean(matrix) == pytest.approx(row["mean"][0], abs=1e-12)
                gap = metrics.aggregate_optimality_gap(matrix)
                assert gap == pytest.approx(row["gap"][0], abs=1e-12)


def test_rliable_draws_its_intervals(sample_model):
    library, metrics = installed("rliable.library"), installed("rliable.metrics")
    body = load(export(sample_model(), "rliable"), "rliable-on-policy-500k.json")
    scores = {name: np.array(matrix) for name, matrix in body["scores"].items()}
    points, intervals = library.get_interval_estimates(
        scores, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=50
    )
    for name in scores:
        assert intervals[name][0] <= points[name] <= intervals[name][1]


def test_marl_eval_runs_of_the_small_board(small_model):
    files = export(small_model, "marl-eval")
    assert list(files) == ["marl-eval-200_steps.json", "README.md"]
    body = load(files, "marl-eval-200_steps.json")
    tasks = body["200_steps"]
    assert list(tasks) == ["up-v0", "down-v0"]
    assert list(tasks["up-v0"]) == ["ppo", MDPO]
    # Two metrics in one track: both go by the name "score".
    assert tasks["up-v0"]["ppo"]["seed_1"] == {
        "step_1": {"step_count": 100, "score": [11.0]},
        "step_2": {"step_count": 200, "score": [20.0]},
        "absolute_metrics": {"score": [2000.0, 2000.0, 2000.0]},
    }
    # The failed run has one point of its own, then the floor.
    assert tasks["up-v0"][MDPO]["seed_1"] == {
        "step_1": {"step_count": 100, "score": [11.0]},
        "step_2": {"step_count": 200, "score": [0.0]},
        "absolute_metrics": {"score": [0.0]},
    }
    assert "- 200_steps: sac: 1 of 2 seeds on up-v0" in files["README.md"].decode()


def test_marl_eval_leaves_out_curves_of_another_length(small_model):
    for key, record in small_model["records"].items():
        if key.startswith("ppo/0.75"):
            record["curve"] = record["curve"][:1]
    files = export(small_model, "marl-eval")
    assert list(load(files, "marl-eval-200_steps.json")["200_steps"]["up-v0"]) == [MDPO]
    assert "ppo: its curves have another number of points" in files["README.md"].decode()


def test_marl_eval_reads_it(sample_model):
    processing = installed("marl_eval.utils.data_processing_utils")
    diagnose = installed("marl_eval.utils.diagnose_data_errors")
    files = export(sample_model(), "marl-eval")
    for name, metric in (("on-policy-500k", "return"), ("off-policy-50k", "score")):
        raw = load(files, f"marl-eval-{name}.json")
        assert all(diagnose.DiagnoseData(raw).check_data()[name].values())
        data = processing.data_process_pipeline(raw, [metric])
        assert data["extra"]["number_of_steps"] == data["extra"]["number_of_runs"] == 10
        final, _ = processing.create_matrices_for_rliable(data, name, [metric])
        matrices = final[f"mean_norm_{metric}"]
        assert {matrix.shape for matrix in matrices.values()} == {(10, len(raw[name]))}
        assert "ppo; lr=0.001; clip=0.3" in matrices  # it allows no comma
        assert all(0 <= m.min() <= m.max() <= 1 for m in matrices.values())


def test_hugging_face_files_of_the_small_board(small_model):
    yaml = installed("yaml")
    files = export(small_model, "huggingface")
    assert set(files) == {
        *(f"{name}/.eval_results/toy_v1--200_steps--{env}-v0.yaml"
          for name in ("ppo", "mdpo-paper-form") for env in ("up", "down")),
        "README.md",
    }  # fmt: skip
    (entry,) = yaml.safe_load(
        files["mdpo-paper-form/.eval_results/toy_v1--200_steps--up-v0.yaml"].decode()
    )
    notes = entry.pop("notes")
    assert entry == {
        "dataset": {"id": "pgbench/toy_v1", "task_id": "200_steps/up-v0"},
        "value": 300.0,
        "date": "2026-11-02T00:00:00Z",
    }
    assert "mean 300 over 2 seeds, 95% interval [-20, 620], 3 evaluation episodes" in notes
    assert "1 of 2 runs finished" in notes
    assert "results sha256:" + "0123456789abcdef" * 4 in notes
    down = files["ppo/.eval_results/toy_v1--200_steps--down-v0.yaml"].decode()
    assert "cost, lower is better" in yaml.safe_load(down)[0]["notes"]
    assert "sac on up-v0: 1 of 2 runs" in files["README.md"].decode()


def test_yaml_keeps_numbers_and_texts(small_model):
    yaml = installed("yaml")
    row = small_model["tracks"][0]["tasks"]["up-v0"][0]
    row["mean"] = [1e-05, None, None]
    small_model["tracks"][0]["rows"][0]["name"] = 'p"p:o\\ # é\u2028\x7f'
    files = export(small_model, "huggingface")
    (name,) = [n for n in files if n.startswith("p-p-o") and "up-v0" in n]
    (entry,) = yaml.safe_load(files[name].decode())
    assert entry["value"] == 1e-05
    assert entry["notes"].startswith('p"p:o\\ # é\u2028\x7f on Up-v1')
    assert "interval" not in entry["notes"]


def test_names_that_make_one_folder_do_not_overwrite(small_model):
    for row in small_model["tracks"][0]["rows"]:
        row["name"] = {"ppo": "a (b)", MDPO: "a [b]", "sac": "sac"}[row["key"]]
    folders = {name.partition("/")[0] for name in export(small_model, "huggingface")}
    assert folders == {"a-b", "a-b-2", "README.md"}


def test_the_hub_client_reads_it(sample_model):
    hub, yaml = installed("huggingface_hub"), installed("yaml")
    files = export(sample_model(), "huggingface")
    pages = [content for name, content in files.items() if name.endswith(".yaml")]
    # 6 algorithms on 3 + 2 environments, but for one that is incomplete in one of each track.
    assert len(pages) == 6 * 5 - 2
    for page in pages:
        data = yaml.safe_load(page.decode())
        entries = hub.parse_eval_result_entries(data)
        assert hub.eval_result_entries_to_yaml(entries) == data


def test_models_of_records_are_rendered(make_record):
    """What `build_model` makes has no suite here: no anchors, no given seeds; and may be empty."""
    whole = [make_record(a, s, (1.0 + s, 2.0)) for a in ("ppo", "sac") for s in range(3)]
    whole.append(make_record("trpo", 0, (4.0, 6.0)))
    for records in (whole, []):
        model = build_model("toys-v1", records)
        assert "toys-v1" in cite(model, [])
        assert to_csv(model).count(",trpo,") == (11 if records else 0)
        assert to_latex(model).count(r"\bottomrule") == bool(records)
        assert export(model, "huggingface").keys() >= {"README.md"}
        for file, content in (export(model, "rliable") | export(model, "marl-eval")).items():
            if file.endswith(".json"):
                body = json.loads(content)
                runs = body["raw"] if "raw" in body else body["1000"]["toy-v0"]
                assert {name: len(found) for name, found in runs.items()} == {"ppo": 3, "sac": 3}


def test_suite_without_records_and_with_some(make_record, suite_file):
    """Environments that no record has told a metric yet, rows that lack an environment."""
    suite = read_suite(suite_file())
    for records in ([], [make_record("ppo", seed, (1.0, 3.0)) for seed in range(3)]):
        model = build_model("toys-v1", records, suite)
        assert "dagger" in to_latex(model) or not records
        assert to_csv(model).startswith("board,track,")
        for kind in KINDS:
            assert export(model, kind)
        if records:
            tables = [json.loads(x) for x in export(model, "rliable").values()]
            assert any("ppo" in body["left_out"] for body in tables)
