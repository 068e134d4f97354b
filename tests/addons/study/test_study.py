import json
from pathlib import Path

import pytest

from tinytale.addons.study.study import Study, read_study, runs_of
from tinytale.errors import UsageError

STUDY = """
question = "Wider or not?"
dataset = "{dataset}"
seeds = [0, 1]

[settings.model]
layers = 1
heads = 2
context_length = 16

[settings.data]
batch_size = 4

[settings.run]
max_steps = 3
evaluate_every = 2
evaluate_tokens = 100
allocator = "default"
precision = "float32"

[variations.narrow.settings.model]
width = 8
[variations.wide]
seeds = [0]
[variations.wide.settings]
model.width = 16
run.compile = false
"""


@pytest.fixture
def study_file(dataset: Path, tmp_path: Path) -> Path:
    path = tmp_path / "width.toml"
    path.write_text(STUDY.format(dataset=dataset.as_posix()), encoding="utf-8")
    return path


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Verbs run in this process; what was asked of them."""
    from tinytale.cli import app

    asked: list[list[str]] = []

    def run(arguments: list[str]) -> int:
        asked.append(arguments)
        return app(arguments) or 0

    monkeypatch.setattr("tinytale.addons.study.commands._tinytale", run)
    return asked


def test_a_study_is_its_variations_with_their_seeds(study_file: Path):
    runs = runs_of(read_study(study_file), Path("runs"))
    assert [run.folder.path.as_posix() for run in runs] == [
        f"runs/width/{name}" for name in ("narrow-0", "narrow-1", "wide-0")
    ]
    configs = [run.config() for run in runs]
    assert [config.model.width for config in configs] == [8, 8, 16]
    assert [config.run.seed for config in configs] == [0, 1, 0]
    assert {config.data.batch_size for config in configs} == {4} and {config.recipe for config in configs} == {"pocket"}
    assert "--model.width=8" in runs[0].commands()[0] and "--run.no-compile" in runs[2].commands()[0]


def test_a_study_trains_scores_and_draws_and_does_nothing_twice(tale, study_file: Path, in_process, tmp_path: Path):
    arguments = ["study", study_file, "--runs", tmp_path / "runs", "--out", tmp_path / "out"]
    assert tale(*arguments).code == 0
    assert [asked[0] for asked in in_process] == ["train", "evaluate"] * 3
    result = json.loads((tmp_path / "out" / "width.json").read_text())
    picture = (tmp_path / "out" / "width.png").read_bytes()
    assert [(run["variation"], run["seed"]) for run in result["runs"]] == [("narrow", 0), ("narrow", 1), ("wide", 0)]
    for run in result["runs"]:
        scored = json.loads(
            next((tmp_path / "runs/width" / f"{run['variation']}-{run['seed']}/evaluation").iterdir()).read_text()
        )
        assert run["dev"]["views"] == scored["dev"]["views"]
        assert (run["steps"], run["tokens"]) == (3, 3 * 4 * 16)
        assert [point["tokens"] for point in run["curve"]] == [128, 192]
    said = tale(*arguments)
    assert said.code == 0 and len(in_process) == 6 and "Wider or not?" in said.err
    assert (tmp_path / "out" / "width.png").read_bytes() == picture
    (tmp_path / "out" / "width.png").unlink()
    assert tale("study", study_file, "--draw", "--out", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "width.png").read_bytes() == picture


def test_a_run_with_other_settings_is_not_taken_for_it(tale, study_file: Path, in_process, tmp_path: Path):
    arguments = ["study", study_file, "--runs", tmp_path / "runs", "--out", tmp_path / "out"]
    assert tale(*arguments).code == 0
    study_file.write_text(study_file.read_text().replace("width = 8", "width = 32"))
    said = tale(*arguments)
    assert said.code == 2 and "narrow-0 is a run with other settings (model.width: 8 -> 32)" in said.err


def test_a_verb_that_fails_ends_the_study_with_its_code(tale, study_file: Path, monkeypatch, tmp_path: Path):
    monkeypatch.setattr("tinytale.addons.study.commands._tinytale", lambda arguments: 130)
    assert tale("study", study_file, "--runs", tmp_path / "runs", "--out", tmp_path / "out").code == 130
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("question = 'Why?'", "is not a study \\('variations'\\)"),
        ("question = ", "cannot be read as TOML"),
        ("question = 'Why?'\n[variations.a]", "names no dataset for 'a'"),
        ("question = 'Why?'\nvariations = 3", "is not a study"),
        ("question = 'Why?'\ndataset = 'x'\n[variations.a.settings.model]\nwidht = 3", "did you mean 'width'"),
        ("question = 'Why?'\nseed = 3\n[variations.a]", "x.toml: a study has no key 'seed'; did you mean 'seeds'"),
        (
            "question = 'Why?'\ndataset = 'x'\n[variations.a]\nmodel.width = 64",
            r"variations.a has no key 'model'; did you mean \[variations.a.settings.model\]",
        ),
        (
            "question = 'Why?'\ndataset = 'x'\n[variations.a]\ndatset = 'y'",
            "a has no key 'datset'; did you mean 'dataset'",
        ),
        ("question = 'Why?'\ndataset = 'x'\n[settings.modle]\nwidth = 64\n[variations.a]", "did you mean 'model'"),
        ("question = 'Why?'\ndataset = 'x'\n[variations.'../../x']", "'../../x' cannot be the name of a folder"),
        ("question = 'Why?'\ndataset = 'x'\n[variations.'..']", "'..' cannot be the name of a folder"),
        ("question = 'Why?'\ndataset = 'x'\n[variations.'/x']", "'/x' cannot be the name of a folder"),
        ("question = 'Why?'\ndataset = '--help'\n[variations.a]", "'--help' looks like an option; write ./"),
        ("question = 'Why?'\ndataset = 'x'\nscored_on = '-h'\n[variations.a]\n", "'-h' looks like an option"),
    ],
    ids=str,
)
def test_what_is_no_study_is_refused(text: str, message: str, tmp_path: Path):
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_study(tmp_path / "x.toml")


def test_a_variation_is_scored_on_the_dataset_that_it_names_else_on_its_own_else_on_that_of_all(tmp_path: Path):
    (tmp_path / "x.toml").write_text(
        "question = 'Why?'\ndataset = 'all'\nscored_on = 'score'\n[variations.plain]\n"
        "[variations.own]\ndataset = 'own'\n[variations.named]\ndataset = 'own'\nscored_on = 'named'\n"
    )
    study = read_study(tmp_path / "x.toml")
    assert [(one.dataset, one.scored_on) for one in study.variations] == [
        ("all", "score"),
        ("own", "own"),
        ("own", "named"),
    ]
    commands = [run.commands() for run in runs_of(study, Path("runs"))]
    assert [(train[1], evaluate[3]) for train, evaluate in commands] == [
        ("all", "score"),
        ("own", "own"),
        ("own", "named"),
    ]


def test_datasets_may_lie_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, "/home/me")
    (tmp_path / "x.toml").write_text("question = 'Why?'\ndataset = '~/x'\n[variations.a]")
    (variation,) = read_study(tmp_path / "x.toml").variations
    assert variation.dataset == variation.scored_on == "/home/me/x"


def test_every_study_of_the_project_can_be_read(repository: Path):
    studies: list[Study] = [read_study(path) for path in sorted((repository / "docs/studies").glob("*.toml"))]
    assert len(studies) >= 5 and all(len(study.variations) > 1 for study in studies)
