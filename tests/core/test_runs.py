from pathlib import Path

import pytest

from tinytale.errors import TaleError, UsageError
from tinytale.runs import RunFolder, find_folder, model_folder, shipped_weights, tokenizer_source


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    for step in (5, 10, 100_000_000):
        run.checkpoint(step).mkdir(parents=True)
    return run


def test_checkpoints_are_counted_in_order_without_the_unfinished(run: RunFolder):
    (run.checkpoints / "step-00000011.partial").mkdir()
    (run.checkpoints / "notes").mkdir()
    assert run.steps() == [5, 10, 100_000_000]
    assert [path.name for path in run.unfinished()] == ["step-00000011.partial"]


def test_an_empty_run_has_no_steps_and_no_pointers(tmp_path: Path):
    run = RunFolder(tmp_path / "none")
    assert (run.steps(), run.unfinished(), run.pointer("latest")) == ([], [], None)


def test_a_pointer_names_the_step_that_it_was_given(run: RunFolder):
    run.point("latest", 10)
    assert run.pointer("latest") == 10
    assert (run.path / "latest").read_text() == "step-00000010\n"


@pytest.mark.parametrize(
    "text", ["", "step-00000011", "10", "step-", "step-²", "../step-00000010", "step-10x", "\udcff"]
)
def test_a_pointer_to_nothing_is_refused_with_what_is_there(run: RunFolder, text: str):
    (run.path / "best").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(TaleError, match=r"best names .*there: step-00000005, step-00000010"):
        run.pointer("best")


def test_a_folder_is_found_by_path_or_by_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tinytale.runs.shipped_weights", lambda: {"small": tmp_path / "weights"})
    assert find_folder(str(tmp_path)) == tmp_path
    assert find_folder("small") == tmp_path / "weights"
    with pytest.raises(UsageError, match=r"no folder 'smal'.*shipped with tinytale: small"):
        find_folder("smal")


def test_every_shipped_run_has_a_model():
    assert all(model_folder(run) == run / "model" for run in shipped_weights().values())


def test_the_model_is_in_a_run_or_is_the_folder(tmp_path: Path):
    with pytest.raises(UsageError, match="neither a run folder"):
        model_folder(tmp_path)
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(UsageError, match="without weights yet"):
        model_folder(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert model_folder(tmp_path) == model_folder(tmp_path / "model") == tmp_path / "model"


def test_a_tokenizer_may_be_that_of_a_run_or_of_shipped_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shipped = tmp_path / "weights" / "tiny"
    for folder in (tmp_path / "run", shipped):
        (folder / "model").mkdir(parents=True)
        (folder / "model" / "config.json").touch()
    monkeypatch.setattr("tinytale.runs.shipped_weights", lambda: {"tiny": shipped})
    assert tokenizer_source("tiny") == str(shipped / "model")
    assert tokenizer_source(str(tmp_path / "run")) == str(tmp_path / "run" / "model")
    for name in ("gpt2", str(tmp_path), "nowhere"):
        assert tokenizer_source(name) == name
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert tokenizer_source("tiny") == "tiny"
