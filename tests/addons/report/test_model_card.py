"""The card says what the files of the run say, and nothing that they do not."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tinytale.addons.quality.suite_tables import DIVERSITY, ENDINGS, RELEVANCE, REPETITION, SPELLING
from tinytale.addons.report.card_stories import DOZEN, Marks
from tinytale.addons.report.model_card import Notes, model_card, parameter_count, readdressed
from tinytale.config import DataConfig, ModelConfig, OptimiserConfig, TrainConfig
from tinytale.errors import TaleError, UsageError
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2
from tinytale.runs import RunFolder
from tinytale.training.history import copy_record

SCORE = {"loss": 2.34567, "perplexity": 10.4403, "bits_per_byte": 0.81234, "interval_95": [0.8, 0.825]}
FOUND = {"sequences": 50, "found": 5, "share": 0.1, "interval_95": [0.05, 0.15]}
FIGURES = {
    "stories": 7,
    "in_train": {"8": FOUND, "13": FOUND | {"sequences": 0, "share": None, "interval_95": None}},
    "longest_run": {"mean": 12.25, "interval_95": [11.0, 13.5], "median": 11.0, "longest": 31},
    "whole_stories": 2,
}
MEMORISATION = {
    "unit": "word",
    "settings": {"stories": 7, "temperature": 0.8, "seed": 3},
    "samples": FIGURES,
    "control": FIGURES | {"whole_stories": 0},
}


def run_folder(path: Path, dtype: torch.dtype = torch.bfloat16, **model: str) -> RunFolder:
    run = RunFolder(path)
    shape = ModelConfig(vocab_size=11, context_length=6, layers=2, heads=2, width=8, **model)  # pyright: ignore[reportArgumentType]
    save_model(run.model, GPT2(shape), end_of_text=10, dtype=dtype)
    data = DataConfig(folder="mine", digest="ab" * 32, batch_size=3)
    config = TrainConfig(recipe="pocket", model=shape, data=data, optimiser=OptimiserConfig(learning_rate=0.003))
    run.config.write_text(config.to_toml(), encoding="utf-8")
    return run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = run_folder(tmp_path / "run")
    lines = [
        {"step": 1, "loss": 3.0, "tokens": 1800, "seconds": 1.0},
        {"step": 1, "dev_loss": 2.75, "dev_bits_per_byte": 1.25, "seconds": 1.0},
        {"step": 2, "rolled_back_to": 1, "rollbacks": 1},
        {"step": 3, "dev_loss": 2.5, "dev_bits_per_byte": 1.1, "seconds": 2.0, "may_be_best": False},
        {"step": 1234, "loss": 2.0, "tokens": 22_212, "seconds": 3723.4},
        {"step": 1234, "dev_loss": 2.8, "dev_bits_per_byte": 1.3, "seconds": 3723.4},
    ]
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = {"data": "mine", "views": {"stories": SCORE, "windows": SCORE | {"loss": 2.5}}}
    run.evaluation.mkdir()
    (run.evaluation / "ab.json").write_text(json.dumps({"test": result | {"memorisation": MEMORISATION}}))
    return run


def test_every_figure_is_one_of_the_runs_files(run: RunFolder):
    card = model_card(run, "tiny", Notes())
    parameters = GPT2(run.read_config().model).parameter_count()
    assert f"A GPT-2 with {parameters:,} weights in bfloat16" in card
    for line in (
        "| dataset | `mine` |",
        f"| SHA-256 of the dataset | `{'ab' * 32}` |",
        "| steps | 1,234 |",
        "| tokens seen | 22,212 |",
        "| batch | 3 sequences of 6 tokens |",
        "| optimiser | adamw, peak learning rate 0.003, cosine schedule |",
        "| training time | 1:02:03 |",
        "| weights from | step 1, the best on the dev split |",
        "| their dev loss | 2.7500 nats a token |",
        "| `mine`, test | each story from its start | 2.3457 | 10.440 | 0.8123 (0.8000–0.8250) |",
        "| `mine`, test | contiguous windows | 2.5000 | 10.440 | 0.8123 (0.8000–0.8250) |",
        "| sequences of 8 words | 10.00% (5.00%–15.00%) | 10.00% (5.00%–15.00%) |",
        "| sequences of 13 words | none so long | none so long |",
        "| longest run of words: mean | 12.2 (11.0–13.5) | 12.2 (11.0–13.5) |",
        "| whole stories | 2 | 0 |",
    ):
        assert line in card.splitlines()
    assert "of 7 stories that the model told by itself (temperature 0.8, seed 3)" in card
    (command,) = [line for line in card.splitlines() if line.startswith("tinytale train")]
    assert command.startswith("tinytale train mine --recipe pocket --model.context-length=6 --model.layers=2")
    assert "vocab" not in command and command.endswith("--out RUN")


def test_measures_of_the_stories_stand_beside_real_ones(run: RunFolder):
    def figures(rows: tuple[tuple[str, ...], ...], value: float) -> dict:
        return {key: {"value": value, "interval_95": [0.25, 0.75]} for key, *_ in rows}

    families = {"endings": ENDINGS, "repetition": REPETITION, "diversity": DIVERSITY, "spelling": SPELLING}
    kept = {key: {"own": {"value": 0.5, "interval_95": [0.25, 0.75]}, "shuffled": None} for key, _ in RELEVANCE}
    quality = {
        "unit": "word",
        "settings": {"stories": 200, "temperature": 0.8, "seed": 3},
        "stories": {
            name: {"samples": figures(rows, 0.375), "real": figures(rows, 0.5)} for name, rows in families.items()
        },
        "openings": {"samples": kept, "real": kept},
    }
    path = run.evaluation / "ab.json"
    results = json.loads(path.read_text())
    results["test"]["quality"] = quality
    path.write_text(json.dumps(results))
    lines = model_card(run, "tiny", Notes()).splitlines()
    assert "| stories that end by themselves | 37.5% (25.0%–75.0%) | 50.0% (25.0%–75.0%) |" in lines
    assert "| names of the prompt that come again | 50.0% (25.0%–75.0%) | 50.0% (25.0%–75.0%) |" in lines
    assert "Of 200 stories that the model told by itself (temperature 0.8, seed 3)" in "\n".join(lines)
    assert not any("rare name" in line for line in lines)

    figure = {"value": 0.375, "interval_95": [0.25, 0.75]}
    names = {"settings": {"max_new_tokens": 80, "temperature": 0.8, "seed": 0}}
    names |= {naming: {"openings": 120, "names": 40, "said_again": figure} for naming in ("rare", "common")}
    words = {"probability": figure, "by_kind": {"fact": figure}, "likeliest": figure}
    quality |= {"names": names, "right_words": words}
    path.write_text(json.dumps(results))
    lines = model_card(run, "tiny", Notes()).splitlines()
    assert "| openings whose hero's rare name is said again | 37.5% (25.0%–75.0%) |" in lines
    assert "|   fact | 0.375 (0.250–0.750) |" in lines


def marks(path: Path, *stories: str, weights: str = "ab") -> Marks:
    kinds = '[kinds]\nthread = {meaning = "what was begun is dropped"}\nword = {meaning = "an invented word"}\n'
    path.write_text(f'{kinds}[told]\nweights = "{weights}"\nstories = {json.dumps(stories)}\n')
    return Marks.read(path)


def test_a_dozen_samples_are_shown_as_they_are_with_the_failures_that_a_reader_marked(run: RunFolder, tmp_path: Path):
    told = ["*Once* <b>there</b> was.\n- Run! said A_B.\n1. The end"] * (DOZEN + 3)
    run.samples.write_text(
        json.dumps({"weights": "ab", "settings": {"temperature": 0.8, "seed": 0}, "stories": told}), encoding="utf-8"
    )
    card = model_card(run, "tiny", Notes())
    assert (
        f"The first {DOZEN} of {DOZEN + 3} stories, told without a prompt (temperature 0.8, seed 0), none left out."
        in card
    )
    quoted = "> \\*Once\\* \\<b\\>there\\</b\\> was.\n>\n> \\- Run! said A\\_B.\n>\n> 1\\. The end"
    assert card.count(quoted) == DOZEN and "Failures" not in card

    read = marks(tmp_path / "read.toml", "thread word", *[""] * DOZEN)
    card = model_card(run, "tiny", Notes(marks=read))
    assert card.count("Failures: what was begun is dropped; an invented word.") == 1
    assert card.count("Failures: none that the reader saw.") == DOZEN - 1
    assert f"of the first {DOZEN + 1}, {DOZEN} had none." in card


def test_marks_of_other_stories_are_refused(run: RunFolder, tmp_path: Path):
    read = marks(tmp_path / "read.toml", *["word"] * DOZEN)
    with pytest.raises(UsageError, match="is not of the stories"):
        model_card(run, "tiny", Notes(marks=read))
    samples = {"weights": "ab", "settings": {"temperature": 0.8, "seed": 0}, "stories": ["One."] * DOZEN}
    run.samples.write_text(json.dumps(samples))
    assert "Failures: an invented word." in model_card(run, "tiny", Notes(marks=read))
    for others in (marks(tmp_path / "a.toml", *["word"] * (DOZEN - 1)), marks(tmp_path / "b.toml", weights="cd")):
        with pytest.raises(UsageError, match="is not of the stories"):
            model_card(run, "tiny", Notes(marks=others))
    with pytest.raises(UsageError, match="is no reading of stories"):
        marks(tmp_path / "c.toml", "an unknown kind")
    run.samples.write_text('{"stories": ["One."]}')
    with pytest.raises(TaleError, match=re.escape(str(run.samples))):
        model_card(run, "tiny", Notes())


def test_the_front_matter_says_only_what_is_known(run: RunFolder):
    def front_matter(notes: Notes) -> list[str]:
        lines = model_card(run, "tiny", notes).splitlines()
        return lines[1 : lines.index("---", 1)]

    known = [
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags:",
        "- gpt2",
        "- stories",
        "- tinytale",
    ]
    assert front_matter(Notes()) == known
    assert front_matter(Notes("mit", "en", "Told by me.")) == ['license: "mit"', 'language: "en"', *known]
    assert "\n\nTold by me.\n\nOn a laptop.\n\n" in model_card(
        run, "tiny", Notes(data="Told by me.", training="On a laptop.")
    )


def test_rounded_weights_say_that_the_scores_are_of_those_before(run: RunFolder, tmp_path: Path):
    assert "before the weights were rounded" in model_card(run, "tiny", Notes())
    save_model(run.model, GPT2(run.read_config().model), end_of_text=10)
    assert "rounded" not in model_card(run, "tiny", Notes())


def test_a_run_that_was_never_measured_has_a_card_without_scores(tmp_path: Path):
    card = model_card(run_folder(tmp_path), "tiny", Notes())
    assert "Scores" not in card and "| steps" not in card and "dev loss" not in card


def test_a_variant_is_not_said_to_load_in_transformers(tmp_path: Path):
    card = model_card(run_folder(tmp_path, norm="post"), "tiny", Notes())
    assert "variant (norm: post" in card and "library_name: tinytale" in card
    assert "from transformers" not in card and "- gpt2" not in card


def test_parameters_are_counted_in_the_file(tmp_path: Path):
    model = GPT2(ModelConfig(vocab_size=11, context_length=6, layers=1, heads=2, width=8))
    save_model(tmp_path, model, end_of_text=10)
    assert parameter_count(tmp_path) == model.parameter_count()


@pytest.mark.parametrize(
    "damaged",
    [
        {"test": {}},
        {"test": {"data": "mine", "views": {"stories": SCORE | {"loss": "low"}}}},
        {"test": {"data": "mine", "views": {"stories": {}}}},
        {"test": {"data": "mine", "views": {"sideways": SCORE}}},
        {"test": {"data": "mine", "views": {"stories": SCORE}, "memorisation": []}},
    ],
    ids=["nothing", "a word for a number", "no figures", "an unknown view", "memorisation of another kind"],
)
def test_damaged_results_are_refused_by_name(damaged: dict, run: RunFolder):
    path = run.evaluation / "ab.json"
    path.write_text(json.dumps(damaged))
    with pytest.raises(TaleError, match=re.escape(str(path))):
        model_card(run, "tiny", Notes())


def test_a_card_is_readdressed_where_it_is_ours_and_nowhere_else(tmp_path: Path):
    card = model_card(run_folder(tmp_path), "a.b", Notes())
    moved = readdressed(card, "owner/name")
    assert moved.count('from_pretrained("owner/name"') == 2 and "a.b/model" not in moved
    assert readdressed(model_card(run_folder(tmp_path), "a.b", Notes(), "a.b"), "owner/name") == moved
    for other in ("# a.b\nfrom_pretrained('gpt2') from_pretrained(\"axb/model\")", "", "no heading"):
        assert readdressed(other, "owner/name") == other


def test_the_teacher_is_named(run: RunFolder):
    assert "teacher" not in model_card(run, "tales", Notes())
    config = run.read_config()
    taught = replace(config, run=replace(config.run, teacher="large", teacher_digest="cd" * 32, teacher_weight=0.75))
    run.config.write_text(taught.to_toml(), encoding="utf-8")
    card = model_card(run, "tales", Notes())
    assert "trained from scratch, following the predictions of `large` too, with tinytale" in card
    assert f"| SHA-256 of the teacher's weights | `{'cd' * 32}` |" in card
    assert "| teacher's share of the loss | 0.75 |" in card


def test_what_a_run_began_with_is_said(run: RunFolder):
    config = run.read_config()
    began = replace(config, run=replace(config.run, start_from="small", start_digest="cd" * 32))
    run.config.write_text(began.to_toml(), encoding="utf-8")
    card = model_card(run, "tales", Notes())
    assert "trained from the weights of `small` with tinytale" in card and "from scratch" not in card
    assert f"| SHA-256 of the first weights | `{'cd' * 32}` |" in card and "before" not in card.split("## Scores")[0]
    copy_record(run, run.before)
    card = model_card(run, "tales", Notes())
    assert "| tokens seen | 22,212 |" in card and "| tokens seen before, by its first weights | 1,800 |" in card
    assert "| training time | 1:02:03 |" in card and "| training time before | 0:01 |" in card


HOSTILE = (
    '</td><script>x</script> ![](http://e.com/p.png) [y](javascript:z) `a` | b &lt; www.e.com "\\\n\n```\n# heading\n'
)


def test_text_of_a_run_means_nothing_but_itself_in_markdown(run: RunFolder):
    """Whoever made the run also chose its recipe, the names of its datasets, and every text of its results."""
    config = run.read_config()
    data = replace(config.data, folder=HOSTILE, digest=HOSTILE)
    began = replace(config.run, start_from=HOSTILE, start_digest=HOSTILE, teacher=HOSTILE, teacher_digest=HOSTILE)
    run.config.write_text(replace(config, recipe=HOSTILE, data=data, run=began).to_toml(), encoding="utf-8")
    result = {"data": HOSTILE, "views": {"stories": SCORE}, "memorisation": MEMORISATION | {"unit": HOSTILE}}
    (run.evaluation / "ab.json").write_text(json.dumps({HOSTILE: result}))
    told = {"weights": "ab", "settings": {"temperature": 0.8, "seed": 0}, "stories": [HOSTILE]}
    run.samples.write_text(json.dumps(told), encoding="utf-8")
    card = model_card(run, HOSTILE, Notes())
    outside, harmless = re.sub(r"(?ms)^(````*)\w+\n.*?^\1$|`[\w ./<|>-]+`", "", card), r"(?<!\\)(?:\\\\)*"
    assert not re.search(harmless + r"[<`\[&]|(?<!\\):/|www\.", outside)
    headings = re.findall(r"(?m)^#.*", outside)
    assert headings[1:] == ["## Training", "## Scores", "## Samples", "## How to load it", "## Limits"]
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in outside.splitlines() if line.startswith("|")}
    assert columns == {3, 4, 6}

    config = replace(config, data=replace(config.data, folder=HOSTILE))  # a recipe that is ours: the command is there
    run.config.write_text(config.to_toml(), encoding="utf-8")
    commands = re.findall(r"(?ms)^(````*)sh\ntinytale (.*?)\n\1$", model_card(run, HOSTILE, Notes()))
    assert [shlex.split(command)[1] for _, command in commands] == [HOSTILE, HOSTILE]
    (addresses,) = {*re.findall(r"from_pretrained\((.*?\")[,)]", card)}
    assert json.loads(addresses) == HOSTILE + "/model"
    assert readdressed(card, "owner/name").count('from_pretrained("owner/name"') == 2


@pytest.mark.parametrize("field", ["stories", "temperature", "seed"])
def test_a_word_where_a_number_should_be_is_not_written_into_the_card(field: str, run: RunFolder):
    settings = MEMORISATION["settings"] | {field: "<b>"}
    result = {"data": "mine", "views": {"stories": SCORE}, "memorisation": MEMORISATION | {"settings": settings}}
    (run.evaluation / "ab.json").write_text(json.dumps({"test": result}))
    with pytest.raises(TaleError, match="is damaged"):
        model_card(run, "tiny", Notes())
