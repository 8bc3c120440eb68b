"""Every environment of the catalogue goes from a run to its evaluation, on to a file and back."""

import json

import pytest
from tiny_lm import write_tiny

from pgbench.catalogue.registry import ENVS
from pgbench.records.record import NO_SANDBOX, PLAIN
from pgbench.runs.result import load
from pgbench.verify import sandbox

# One of each kind of environment and verifier; all the others take minutes.
DEFAULT = (
    *("inverted-pendulum", "one-warehouse", "seasonal-store"),
    *("math", "math-nano", "gsm-symbolic", "code-nano", "chain-sum"),
)
SMALL = {
    "control": "reinforce --budget 256 --set horizon=256 --set hidden=4",
    "inventory": "hdpo --budget 20k --set traces=16 --set dev_traces=8 --set hidden=4",
    "text": "grpo --budget 1 --set prompts=2 --set group=2 --set max_tokens=4",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of 20,000 parameters."""
    return write_tiny(tmp_path_factory.mktemp("tiny"), max_position_embeddings=4096, vocab_size=128)


def settings(spec, folder):
    """What an environment needs: the name of a data set, or a file of rows of its kind."""
    if not spec.needs:
        return []
    if spec.needs == "dataset=NAME":
        return ["--set", "env.dataset=chain_sum"]
    file = folder / "rows.jsonl"
    if "code" in (spec.id, spec.instance_of):
        rows = [
            {"text": f"Add {i}.", "test_list": [f"assert f(1) == {1 + i}"], "task_id": number,
             "code": f"def f(x):\n    return x + {i}"}
            for i, number in enumerate([*range(11, 21), *range(601, 631)])
        ]  # fmt: skip
    else:
        rows = [{"problem": f"What is {i}+1?", "answer": str(i + 1)} for i in range(60)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["--set", f"env.source={file}"]


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(spec, id=spec.id, marks=[] if spec.id in DEFAULT else [pytest.mark.slow])
        for spec in ENVS.all()
    ],
)
def test_a_run_is_evaluated_saved_and_loaded(cli, tmp_path, model, spec):
    words = f"run --no-compile --episodes 2 --env {spec.id} --algo {SMALL[spec.family]}".split()
    words += ["--json", "--runs", tmp_path / "runs", *settings(spec, tmp_path)]
    words += ["--model", model] if spec.family == "text" else []
    words += ["--set", "env.workers=1"] if spec.id in ("math", "code-nano") else []
    code, out, err = cli(*words)
    assert code == 0, err
    assert json.loads(out, parse_constant=pytest.fail)["status"] == "finished"
    (folder,) = (path.parent for path in (tmp_path / "runs").rglob("run.json"))
    more = ["--samples", "2", "--save", tmp_path / "saved"] if spec.family == "text" else []
    code, out, err = cli("eval", folder, "--episodes", "1", "--json", *more)
    assert code == 0, err
    json.loads(out, parse_constant=pytest.fail)
    if spec.family == "text":
        from transformers import AutoModelForCausalLM

        assert AutoModelForCausalLM.from_pretrained(tmp_path / "saved").num_parameters() > 0
    assert load(folder).record["status"] == "finished"


@pytest.mark.filterwarnings("ignore:NO SANDBOX")
@pytest.mark.parametrize("plain", [False, True])
def test_the_record_says_what_kept_the_judged_programs_in(cli, tmp_path, model, monkeypatch, plain):
    if plain:
        monkeypatch.setattr(sandbox, "choose", lambda _: PLAIN)
    words = f"run --no-compile --episodes 2 --env code-nano --algo {SMALL['text']}".split()
    words += ["--set", "env.workers=1", "--model", model, "--runs", tmp_path, "--json"]
    code, out, err = cli(*words)
    assert code == 0, err
    record = json.loads(out)
    expected = PLAIN if plain else sandbox.choose("auto")
    assert record["environment"]["sandbox"] == expected
    warned = record["provenance"].get("warnings", [])
    assert warned == ([NO_SANDBOX] if expected == PLAIN else [])
    add = ("board", "mine", "--add", tmp_path, "--root", tmp_path / "boards")
    code, _, err = cli(*add)
    assert code == (2 if expected == PLAIN else 0), err
