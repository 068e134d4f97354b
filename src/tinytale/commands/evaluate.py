"""`tinytale evaluate`: how well a model predicts stories that it has not seen, and how good those are that it tells."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from tinytale.commands.options import Device, load_weights, need, print_json
from tinytale.console import console
from tinytale.data.raw_files import AS_USUAL, ReadingOptions
from tinytale.errors import UsageError
from tinytale.files import write_json
from tinytale.runs import RunFolder, find_folder, is_shipped, model_folder


def evaluate(
    folder: str,
    *,
    data: str | None = None,
    reading: Annotated[ReadingOptions, Parameter(name="*")] = AS_USUAL,
    split: Literal["test", "dev"] = "test",
    suite: Literal["quick", "full"] = "quick",
    samples: int | None = None,
    judge: str | None = None,
    judge_model: str | None = None,
    out: Path | None = None,
    device: Device = "auto",
    json: bool = False,
) -> None:
    """Score a model on stories that it has not seen.

    Every token of the test split is scored once: loss, perplexity and bits per byte, with a 95% interval over stories.
    Two views: each story from its start (what a reader meets), and contiguous windows (the field's usual validation
    loss). The full suite also lets the model tell 200 stories and go on with others, and measures their endings,
    repetition, diversity, relevance, spelling, and how much of them is in the train split; beside it, the same of real
    stories. In English it also asks how often a hero's rare name is said again, and how likely the one right word is.
    Results go into the run's `evaluation` folder, what was told into its `samples.json`; of shipped weights, only where
    --out says.

    Parameters
    ----------
    folder: str
        A run, a GPT-2 folder in Hugging Face's layout, or the name of shipped weights.
    data: str
        A dataset folder, or a file of stories. Default: the dataset of the run.
    split: str
        Choose settings by the dev split; score the test split last.
    suite: str
        quick: the scores. full: the stories that the model tells, some minutes more.
    samples: int
        Stories that are told for the full suite, or for the judge. Default: 200.
    judge: str
        Address of any server with OpenAI's interface, such as http://localhost:8000/v1: a model there grades what was
        told, 0 to 10, and as many real stories, mixed in blind. Its key, if it needs one, is read from OPENAI_API_KEY.
    judge_model: str
        The server's name for that model. Default: the only one that it has.
    out: Path
        Folder for the results. Default: the run's; without a run, or with shipped weights, they are only shown.
    device: str
        Where to compute.
    json: bool
        Print one JSON object.
    """
    from tinytale.addons.judge.judging import examine, find_examiner, stories_to_judge

    run = RunFolder(find_folder(folder))
    weights = model_folder(run.path)
    is_run = weights != run.path
    if reading != AS_USUAL and (data is None or Path(data).is_dir()):
        raise UsageError(
            "--field, --errors, --encoding and --split-at are for a file of stories: name it with --data FILE"
        )
    data = _data_of(run, is_run, folder) if data is None else data
    if samples is not None and (not (suite == "full" or judge) or samples < 1):
        raise UsageError(f"samples is {samples}; expected at least 1, and --suite full or --judge, which need stories")
    if suite == "full":
        _check_own_dataset(run, data)
        need(("datasketch", "sacrebleu"), "report", "--suite full")
    in_run = is_run and not is_shipped(run.path)
    kept_in = out or (run.evaluation if in_run else None)
    examiner = find_examiner(judge, judge_model, kept_in)

    from tinytale.addons.judge.grading import judge_table
    from tinytale.addons.quality.completions import CompletionSettings
    from tinytale.addons.quality.samples import SampleSettings
    from tinytale.addons.quality.suite import full_suite
    from tinytale.addons.quality.telling import SLOTS
    from tinytale.evaluation.results import results_table, save_results, score
    from tinytale.evaluation.story_scores import save_story_scores
    from tinytale.evaluation.stream import stream_of
    from tinytale.generation.torch_decoder import TorchDecoder
    from tinytale.model.derive import cut_vocabulary
    from tinytale.model.weight_files import weights_digest

    model, tokenizer = load_weights(weights, device)
    stream = stream_of(data, split, tokenizer, weights, reading)
    mark = weights_digest(weights)
    scored, story_scores = score(model, stream, tokenizer.end_of_text, tokenizer.byte_lengths())
    result = {**scored, "weights": mark}
    told = None
    if suite == "full":
        settings = SampleSettings() if samples is None else SampleSettings(stories=samples)
        decoder = TorchDecoder(cut_vocabulary(model, tokenizer.vocab_size), SLOTS)
        figures, told = full_suite(decoder, tokenizer, Path(data), split, settings, CompletionSettings())
        result |= figures
    if not json:
        console.print(results_table(result))
        if told:
            _show_suite(result)
    samples_file = out / run.samples.name if out else run.samples
    if kept_in:
        path = save_results(kept_in, result)
        save_story_scores(path, result, story_scores)
        console.print(f"Written to {path}")
        if told:
            write_json(samples_file, {"weights": mark, **told})
            console.print(f"Written to {samples_file}")
    if examiner and kept_in:
        stories = stories_to_judge(samples_file, mark, samples, model, tokenizer)
        result["judge"] = examine(examiner, stories, stream, tokenizer)
        save_results(kept_in, result)
        if not json:
            console.print("", judge_table(result["judge"]), sep="\n")
    if json:
        print_json(result)


def _show_suite(result: dict[str, Any]) -> None:
    from tinytale.addons.quality.memorisation import memorisation_table
    from tinytale.addons.quality.suite_tables import profile_table, prompts_table, quality_table, sense_table

    tables = [profile_table(result), quality_table(result)]
    english = result["quality"]["prompts"] is not None
    tables += [prompts_table(result), sense_table(result)] if english else []
    for table in (*tables, memorisation_table(result["memorisation"])):
        console.print("", table, sep="\n")
    if not english:
        console.print(
            "", "Our prompts, rare names and right words are left out: they are English, and train is not.", sep="\n"
        )


def _data_of(run: RunFolder, is_run: bool, typed: str) -> str:
    """The dataset that a run names.

    Raises:
        UsageError: it is not a run, or its dataset is not here.
    """
    if not is_run:
        raise UsageError(f"{typed} is not a run, so it names no dataset; say which with --data DATASET or --data FILE")
    data = run.read_config().data
    if not data.folder or not Path(data.folder).is_dir():
        raise UsageError(
            f"{typed} was trained on the dataset {data.folder!r} (SHA-256 {data.digest[:16]}...), which is not a folder"
            " here; say where it is with --data DATASET, or score any stories with --data FILE"
        )
    return data.folder


def _check_own_dataset(run: RunFolder, data: str) -> None:
    """Memorisation is of the stories that the model was trained on.

    Raises:
        UsageError: `data` is no dataset, or not the one of the run.
    """
    from tinytale.data.shards import Manifest

    if not Path(data).is_dir():
        raise UsageError(
            f"--suite full looks for the model's stories in its train split, which {data} does not have;"
            " give --data DATASET, or take --suite quick"
        )
    digest = Manifest.load(Path(data)).digest
    trained_on = run.read_config().data.digest if run.config.is_file() else ""
    if trained_on and digest != trained_on:
        raise UsageError(
            f"--suite full looks for the model's stories in its train split, but {data} (SHA-256 {digest[:16]}...)"
            f" is not the dataset of {run.path} ({trained_on[:16]}...); give that with --data, or take --suite quick"
        )
