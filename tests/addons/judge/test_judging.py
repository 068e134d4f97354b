"""`tinytale evaluate --judge`, from the command line to the results file."""

import json
from pathlib import Path

import pytest
import torch

from tinytale.addons.judge.rubric import CRITERIA
from tinytale.config import ModelConfig
from tinytale.data.shards import Manifest
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2

pytestmark = pytest.mark.usefixtures("few_completions")


@pytest.fixture
def run(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    torch.manual_seed(0)
    model = GPT2(ModelConfig(vocab_size=300, context_length=16, layers=1, heads=1, width=8))
    end = Manifest.load(dataset).end_of_text
    save_model(tmp_path / "run" / "model", model, end, (dataset / "tokenizer.json").read_bytes())
    (tmp_path / "run" / "config.toml").write_text(f'[data]\nfolder = "{dataset.as_posix()}"\n')
    return tmp_path / "run"


def results(run: Path) -> dict:
    (path,) = (run / "evaluation").glob("*.json")
    return json.loads(path.read_text(encoding="utf-8"))["test"]


def test_grades_of_samples_and_real_stories_go_into_the_results(tale, run: Path, judge_server):
    ended = tale("evaluate", run, "--judge", judge_server.url, "--samples=2", "--json")
    assert ended.code == 0
    printed = json.loads(ended.out)
    assert printed == results(run)
    judge = printed["judge"]
    assert (judge["model"], judge["samples"]["graded"], judge["control"]["graded"]) == ("stand-in", 2, 2)
    assert set(judge["difference"]) == set(CRITERIA)
    told = json.loads((run / "samples.json").read_text(encoding="utf-8"))
    assert {story.strip() for story in told["stories"]} <= set(judge_server.stories())
    assert len(judge_server.questions) == 4 and printed["views"]


def test_stories_that_were_told_before_are_judged_and_not_told_again(tale, run: Path, judge_server):
    tale("evaluate", run, "--suite=full", "--samples=2")
    before = (run / "samples.json").stat().st_mtime_ns
    ended = tale("evaluate", run, "--judge", judge_server.url)
    assert ended.code == 0 and "real stories" in ended.err
    assert (run / "samples.json").stat().st_mtime_ns == before and len(judge_server.questions) == 4
    assert set(results(run)) >= {"judge", "memorisation", "views"}
    assert tale("evaluate", run, "--judge", judge_server.url).code == 0 and len(judge_server.questions) == 4
    assert tale("evaluate", run, "--judge", judge_server.url, "--samples=3").code == 0
    assert (run / "samples.json").stat().st_mtime_ns == before  # it holds the answers to the prompts too


def test_a_gpt2_of_others_is_judged_on_any_file_of_stories(tale, run: Path, judge_server, tmp_path: Path):
    stories, out = tmp_path / "stories.txt", tmp_path / "out"
    stories.write_text("A cat sat.\n<|endoftext|>\nA dog ran home.\n<|endoftext|>\nThe end.", encoding="utf-8")
    asked = ("evaluate", run / "model", "--data", stories, "--judge", judge_server.url, "--samples=3")
    refused = tale(*asked)
    assert refused.code == 2 and "--out FOLDER" in refused.err
    assert tale(*asked, "--out", out).code == 0
    assert {"A cat sat.", "A dog ran home.", "The end."} <= set(judge_server.stories())
    assert (out / "judged.jsonl").is_file() and (out / "samples.json").is_file()


def test_the_key_is_in_no_file_and_no_message(tale, run: Path, judge_server):
    judge_server.token = "sk-very-secret"
    said = [tale("evaluate", run, "--judge", judge_server.url, "--samples=2")]
    judge_server.token = "another"
    said.append(tale("evaluate", run, "--judge", judge_server.url, "--samples=2"))
    assert [ended.code for ended in said] == [0, 1] and "refuses access" in said[1].err
    assert "secret" not in "".join(ended.out + ended.err for ended in said)
    written = [path for path in run.rglob("*") if path.is_file()]
    assert len(written) > 5 and not any(b"sk-very-secret" in path.read_bytes() for path in written)


def test_a_judge_that_fails_costs_no_scores(tale, run: Path, judge_server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tinytale.addons.judge.judge.GIVE_UP", 3)
    judge_server.say = lambda story: "Lovely!"
    ended = tale("evaluate", run, "--judge", judge_server.url, "--samples=2")
    assert ended.code == 1 and "no grades for 3 texts in a row" in ended.err
    assert "views" in results(run) and "judge" not in results(run) and (run / "samples.json").is_file()


def test_without_a_judge_nothing_is_asked(tale, run: Path, judge_server):
    assert tale("evaluate", run).code == 0
    assert judge_server.questions == [] and not (run / "samples.json").exists()


WRONG = {
    "a model without a judge": (["--judge-model=m"], "--judge does not say which server", 2),
    "no address": (["--judge=gpt-9"], "not the address of a server", 2),
    "nobody there": (["--judge=http://127.0.0.1:1/v1"], "does not answer", 1),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_is_said_before_any_work(wrong: str, tale, run: Path, monkeypatch: pytest.MonkeyPatch):
    options, message, code = WRONG[wrong]
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    ended = tale("evaluate", run, *options)
    assert ended.code == code and message in ended.err
    assert not (run / "evaluation").exists()


def test_without_the_client_the_person_is_told_what_to_install(tale, run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tinytale.addons.judge.judge.find_spec", lambda name: None)
    ended = tale("evaluate", run, "--judge", "http://127.0.0.1:1/v1")
    assert ended.code == 1 and "'openai>=" in ended.err
