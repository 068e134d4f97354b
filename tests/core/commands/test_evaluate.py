import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from tinytale.config import ModelConfig
from tinytale.data.shards import Manifest
from tinytale.files import sha256_of
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2

pytestmark = pytest.mark.usefixtures("few_completions")


@pytest.fixture
def run(dataset: Path, tmp_path: Path) -> Path:
    """A run folder as another machine would give it: without checkpoints."""
    torch.manual_seed(0)
    model = GPT2(ModelConfig(vocab_size=300, context_length=32, layers=1, heads=2, width=16))
    end = Manifest.load(dataset).end_of_text
    save_model(tmp_path / "run" / "model", model, end, (dataset / "tokenizer.json").read_bytes())
    (tmp_path / "run" / "config.toml").write_text(f'[data]\nfolder = "{dataset.as_posix()}"\n')
    return tmp_path / "run"


def test_json_is_one_object_and_the_file_keeps_the_same(tale, run: Path, dataset: Path):
    ended = tale("evaluate", run, "--json")
    result = json.loads(ended.out)
    digest = Manifest.load(dataset).digest
    assert (ended.code, result["digest"], result["split"], result["data"]) == (0, digest, "test", str(dataset))
    assert set(result["views"]) == {"stories", "windows"}
    kept = json.loads((run / "evaluation" / f"{digest[:16]}.json").read_text())
    assert kept == {"test": result}
    assert math.log(300) * 0.9 < result["views"]["stories"]["loss"] < math.log(300) * 1.1


def test_dev_and_test_stay_in_one_file(tale, run: Path):
    assert tale("evaluate", run).code == tale("evaluate", run, "--split", "dev").code == 0
    (path,) = (run / "evaluation").glob("*.json")
    assert set(json.loads(path.read_text())) == {"dev", "test"}


def test_a_person_sees_a_table(tale, run: Path):
    ended = tale("evaluate", run)
    assert ended.out == "" and "bits per byte" in ended.err and "Written to" in ended.err


def test_a_model_folder_needs_to_be_told_the_data_and_is_never_written_into(
    tale, run: Path, dataset: Path, tmp_path: Path
):
    before = sorted((run / "model").iterdir())
    ended = tale("evaluate", run / "model")
    assert ended.code == 2 and "say which with --data" in ended.err
    assert tale("evaluate", run / "model", "--data", dataset, "--json").code == 0
    assert sorted((run / "model").iterdir()) == before
    assert tale("evaluate", run / "model", "--data", dataset, "--out", tmp_path / "results").code == 0
    assert {path.suffix for path in (tmp_path / "results").iterdir()} == {".json", ".safetensors"}


def test_a_file_of_stories_is_scored_in_the_models_own_tokens(tale, run: Path, tmp_path: Path):
    path = tmp_path / "stories.txt"
    path.write_text("Zoë ran.\n<|endoftext|>\nThe end.\n", encoding="utf-8")
    result = json.loads(tale("evaluate", run, "--data", path, "--json").out)
    assert (result["split"], result["stories"], result["bytes"]) == ("all", 2, len("Zoë ran.The end.".encode()))


def wrong_tokenizer(run: Path) -> None:
    save_model(run / "model", GPT2(ModelConfig(vocab_size=299, context_length=8, layers=1, heads=1, width=8)), 0)


def cut_weights(run: Path) -> None:
    path = run / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


BROKEN = {
    "no weights": (lambda run: (run / "model" / "model.safetensors").unlink(), "model.safetensors is missing", 1),
    "weights cut short": (cut_weights, "is damaged: its SHA-256 is", 1),
    "no tokenizer": (lambda run: (run / "model" / "tokenizer.json").unlink(), "no tokenizer in", 2),
    "another tokenizer": (wrong_tokenizer, "has 300 tokens, its model knows 299", 1),
    "no model": (lambda run: shutil.rmtree(run / "model"), "is a run without weights yet", 2),
    "no settings": (lambda run: (run / "config.toml").unlink(), "config.toml does not exist", 2),
    "a dataset that has moved": (lambda run: (run / "config.toml").write_text('[data]\nfolder = "gone"\n'), "gone", 2),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_run_is_refused_in_one_line(broken: str, tale, run: Path):
    breaks, message, code = BROKEN[broken]
    breaks(run)
    ended = tale("evaluate", run, "--json")
    assert (ended.code, ended.out) == (code, "") and message in ended.err


def test_a_folder_that_is_not_there_is_refused(tale):
    ended = tale("evaluate", "runs/none")
    assert ended.code == 2 and "there is no folder 'runs/none'" in ended.err


FEW_SAMPLES = {"stories": 4, "max_new_tokens": 20}


@pytest.fixture
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    import tinytale.addons.judge.grading  # noqa: F401  (its annotations name the class, and are read when it is imported)
    from tinytale.addons.quality.samples import SampleSettings

    monkeypatch.setattr("tinytale.addons.quality.samples.SampleSettings", lambda: SampleSettings(**FEW_SAMPLES))


def test_the_full_suite_measures_stories_and_keeps_them(tale, run: Path, dataset: Path, few_samples):
    ended = tale("evaluate", run, "--suite=full", "--json")
    result = json.loads(ended.out)
    assert ended.code == 0 and result["memorisation"]["samples"]["stories"] == 4
    samples = json.loads((run / "samples.json").read_text())
    assert len(samples["stories"]) == 4 and samples["settings"] == result["memorisation"]["settings"]
    assert samples["weights"] == result["weights"] == sha256_of(run / "model" / "model.safetensors")
    assert len(samples["completions"]["prompts"]) == 5 and len(samples["ended"]) == 4
    (path,) = (run / "evaluation").glob("*.json")
    assert json.loads(path.read_text())["test"] == result and result["quality"]["settings"]["stories"] == 4
    shown = tale("evaluate", run, "--suite=full").err
    for part in ("closing end of text", "self-BLEU", "project's own prompts", "sequences of 8 words", "real stories"):
        assert part in shown


def test_the_full_suite_gives_the_same_files_byte_for_byte(tale, run: Path, tmp_path: Path, few_samples):
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        assert tale("evaluate", run, "--suite=full", "--out", folder).code == 0
    one, other = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert one == other and len(one) == 3


def test_a_missing_library_is_named_before_anything_is_computed(tale, run: Path, monkeypatch):
    monkeypatch.setattr("tinytale.commands.options.find_spec", lambda library: library != "sacrebleu")
    ended = tale("evaluate", run, "--suite=full")
    assert ended.code == 1 and "sacrebleu is not installed" in ended.err and "pip install" in ended.err
    assert tale("evaluate", run).code == 0


def test_what_was_measured_stays_until_the_weights_change(tale, run: Path, dataset: Path, few_samples):
    path = run / "evaluation" / f"{Manifest.load(dataset).digest[:16]}.json"
    tale("evaluate", run, "--suite=full")
    tale("evaluate", run)
    assert "memorisation" in json.loads(path.read_text())["test"]
    torch.manual_seed(1)
    model = GPT2(ModelConfig(vocab_size=300, context_length=32, layers=1, heads=2, width=16))
    save_model(run / "model", model, Manifest.load(dataset).end_of_text)
    tale("evaluate", run)
    assert "memorisation" not in json.loads(path.read_text())["test"]


def test_the_full_suite_goes_where_out_says(tale, run: Path, dataset: Path, tmp_path: Path, few_samples):
    out = tmp_path / "results"
    assert tale("evaluate", run, "--suite=full", "--out", out).code == 0
    assert (out / "samples.json").is_file() and len(list(out.glob("*.json"))) == 2
    assert not (run / "samples.json").exists() and not (run / "evaluation").exists()


def test_the_full_suite_needs_the_dataset_of_the_run(tale, run: Path, dataset: Path, tmp_path: Path):
    stories = tmp_path / "stories.txt"
    stories.write_text("The end.")
    ended = tale("evaluate", run, "--suite=full", "--data", stories)
    assert ended.code == 2 and "give --data DATASET" in ended.err
    (run / "config.toml").write_text(f'[data]\nfolder = "{dataset.as_posix()}"\ndigest = "{"0" * 64}"\n')
    ended = tale("evaluate", run, "--suite=full", "--data", dataset)
    assert ended.code == 2 and "is not the dataset of" in ended.err
    assert not (run / "evaluation").exists()


def test_the_full_suite_tells_as_many_stories_as_asked(tale, run: Path, tmp_path: Path):
    assert tale("evaluate", run, "--suite=full", "--samples=3", "--out", tmp_path / "out").code == 0
    assert len(json.loads((tmp_path / "out" / "samples.json").read_text())["stories"]) == 3


@pytest.mark.parametrize("options", [["--samples=3"], ["--samples=0", "--suite=full"]], ids=" ".join)
def test_a_number_of_samples_goes_with_the_full_suite_only(options: list[str], tale, run: Path):
    ended = tale("evaluate", run, *options)
    assert ended.code == 2 and "expected at least 1, and --suite full" in ended.err


def test_a_file_is_read_with_the_options_that_its_messages_advise(tale, run: Path, tmp_path: Path):
    rows, text = tmp_path / "rows.jsonl", tmp_path / "latin.txt"
    rows.write_text("".join(json.dumps({"story": f"The fox {number}."}) + "\n" for number in range(3)))
    text.write_bytes("Der Bär.\n\nDas Tor.".encode("latin-1"))
    for path, advised, options in (
        (rows, "--field", ("--field", "story")),
        (text, "--encoding", ("--encoding", "cp1252", "--split-at", "blank-line")),
        (text, "--errors replace", ("--errors", "replace")),
    ):
        refused = tale("evaluate", run, "--data", path)
        assert refused.code == 1 and advised in refused.err
        ended = tale("evaluate", run, "--data", path, *options, "--json")
        assert ended.code == 0 and json.loads(ended.out)["stories"] == {rows: 3}.get(
            path, 1 + ("--split-at" in options)
        )
    assert "in place of bytes: 1" in ended.err
    assert tale("evaluate", run, "--field", "story").code == 2
