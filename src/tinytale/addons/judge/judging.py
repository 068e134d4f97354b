"""`tinytale evaluate --judge`: a model of any server grades what was told."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tinytale.errors import UsageError
from tinytale.files import write_json

if TYPE_CHECKING:
    from tinytale.addons.judge.judge import JudgeSettings
    from tinytale.addons.quality.samples import SampleSettings
    from tinytale.data.tokenizer import Tokenizer
    from tinytale.evaluation.stream import Stream
    from tinytale.model.gpt2 import GPT2

GRADES_FILE = "judged.jsonl"
"""In the folder of results."""


class Examiner(NamedTuple):
    """A judge that has answered."""

    settings: "JudgeSettings"
    model: str
    grades: Path
    """Where its grades are kept."""


def find_examiner(url: str | None, model: str | None, results: Path | None) -> Examiner | None:
    """The judge that a person asked for, if any; it is visited, before the long work begins.

    Raises:
        UsageError: the options do not fit together, or the judge has several models and none was named.
        TaleError: the judge does not answer, or refuses the key.
    """
    if url is None:
        if model is not None:
            raise UsageError(f"--judge-model is {model!r}, but --judge does not say which server has it")
        return None
    if results is None:
        raise UsageError("a judge's grades are kept beside the results; say where with --out FOLDER")
    from tinytale.addons.judge.judge import JudgeSettings, find_model

    settings = JudgeSettings(url=url, model=model)
    return Examiner(settings, find_model(settings), results / GRADES_FILE)


def stories_to_judge(
    samples_file: Path, weights: str, wanted: int | None, model: "GPT2", tokenizer: "Tokenizer"
) -> "tuple[SampleSettings, list[str]]":
    """What these weights have told, as `samples_file` keeps it; told anew if it is not there, or another number.

    A file that holds another number of their stories stays as it is: a suite wrote it, with more than those.

    Raises:
        TaleError: the file is damaged, or the disk refuses.
    """
    from tinytale.addons.quality.samples import SampleSettings, kept_stories, tell_samples
    from tinytale.addons.quality.telling import SLOTS
    from tinytale.generation.torch_decoder import TorchDecoder
    from tinytale.model.derive import cut_vocabulary

    kept = kept_stories(samples_file, weights)
    if kept and wanted in (None, len(kept[1])):
        return kept
    settings = SampleSettings() if wanted is None else SampleSettings(stories=wanted)
    told = tell_samples(TorchDecoder(cut_vocabulary(model, tokenizer.vocab_size), SLOTS), tokenizer, settings)
    if not kept:
        write_json(samples_file, {"weights": weights, **told.to_json()})
    return told.settings, told.stories


def examine(
    examiner: Examiner,
    told: "tuple[SampleSettings, list[str]]",
    stream: "Stream",
    tokenizer: "Tokenizer",
) -> dict[str, Any]:
    """The grades of what was told, and of as many stories of the stream.

    Raises:
        TaleError: the judge gives none, or the disk refuses.
    """
    from tinytale.addons.judge.grading import graded, real_stories

    control = real_stories(stream, tokenizer, told[0])
    return graded(examiner.settings, examiner.model, told, control, examiner.grades)
