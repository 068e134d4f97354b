"""The full suite: stories are told and gone on with, and every figure of them stands beside that of real ones."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from tinytale.addons.quality.completions import OPENING, Completions, CompletionSettings, complete, continue_real
from tinytale.addons.quality.diversity import diversity, of_equal_size
from tinytale.addons.quality.endings import endings
from tinytale.addons.quality.lexicon import Lexicon
from tinytale.addons.quality.memorisation import memorisation
from tinytale.addons.quality.prompts import read_prompts, speaks_their_language
from tinytale.addons.quality.relevance import relevance
from tinytale.addons.quality.repetition import repetition
from tinytale.addons.quality.samples import SampleSettings, draw_stories, tell_samples
from tinytale.addons.quality.sense import NameSettings, names_said_again, read_openings, read_sentences, right_words
from tinytale.addons.quality.spelling import spelling
from tinytale.addons.quality.telling import Told
from tinytale.addons.survey.sequences import Unit, unit_of, words_of
from tinytale.console import progress_bar
from tinytale.data.shards import Manifest
from tinytale.data.splits import Split
from tinytale.data.stored import StoredStories, open_splits
from tinytale.data.tokenizer import Tokenizer
from tinytale.errors import TaleError
from tinytale.generation.decoder import Decoder


def full_suite(
    decoder: Decoder,
    tokenizer: Tokenizer,
    dataset: Path,
    split: Split,
    settings: SampleSettings,
    asked: CompletionSettings,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures, to be kept beside the scores, and all that was told, for a person to read.

    The project's prompts, openings and sentences are English: where train is not, they are left out.

    Raises:
        TaleError: the dataset is damaged, or `split` has no stories.
    """
    splits = open_splits(dataset, Manifest.load(dataset))
    if split not in splits:
        raise TaleError(f"the {split} split of {dataset} is empty, so there is nothing to compare the samples with")
    unit = unit_of(list(islice(splits["train"], 200)))
    lexicon = _lexicon(splits["train"], unit)
    real = draw_stories(splits[split], tokenizer, settings)

    samples = tell_samples(decoder, tokenizer, settings)
    continued = continue_real(decoder, tokenizer, real, settings)
    version, prompts = read_prompts()
    english = speaks_their_language(lexicon, prompts)
    completions = complete(decoder, tokenizer, version, prompts, asked) if english else None
    said_again = names_said_again(decoder, tokenizer, *read_openings(), NameSettings()) if english else (None, None)
    right = right_words(decoder, tokenizer, *read_sentences()) if english else (None, None)

    control = real.cut(settings.max_new_tokens)
    texts = [told.text for told in control]
    quality = {
        "unit": unit,
        "settings": {**asdict(settings), "opening_tokens": OPENING},
        "stories": _about_stories(samples.told, control, unit, lexicon),
        "openings": {
            "samples": relevance(continued.openings, [told.text for told in continued.told], lexicon),
            "real": relevance(continued.openings, [told.text for told in continued.real], lexicon),
        },
        "prompts": _about_completions(completions, unit, lexicon) if completions else None,
        "names": said_again[0],
        "right_words": right[0],
    }
    stories = {
        **samples.to_json(),
        "completions": completions.to_json() if completions else None,
        "names": said_again[1],
        "right_words": right[1],
    }
    return {"memorisation": memorisation(splits["train"], unit, samples, texts), "quality": quality}, stories


def _lexicon(train: StoredStories, unit: Unit) -> Lexicon:
    with progress_bar("story") as bar:
        return Lexicon(bar.track(train, description="reading the words of train"), unit)


def _about_stories(samples: list[Told], real: list[Told], unit: Unit, lexicon: Lexicon) -> dict[str, Any]:
    """Each family of figures, of the samples and of real stories."""
    both = {"samples": samples, "real": real}
    words = {name: [words_of(told.text, unit) for told in stories] for name, stories in both.items()}
    equal = dict(zip(both, of_equal_size(*words.values()), strict=True))
    with progress_bar("story") as bar:
        task = bar.add_task("comparing stories with one another", total=sum(map(len, equal.values())))
        diverse = {
            name: diversity(stories, unit, lambda count: bar.advance(task, count)) for name, stories in equal.items()
        }
    return {
        "equal_size": {"stories": len(equal["real"]), "words": sum(map(len, equal["real"]))},
        "endings": {name: _endings(stories) for name, stories in both.items()},
        "repetition": {name: repetition(words[name], equal[name]) for name in both},
        "diversity": diverse,
        "spelling": {name: spelling([told.whole_words(unit) for told in both[name]], lexicon) for name in both},
    }


def _about_completions(completions: Completions, unit: Unit, lexicon: Lexicon) -> dict[str, Any]:
    """What can be said of the completions without real ones: figures for each way of decoding."""
    ways: dict[str, Any] = {}
    for way in completions.told:
        prompts, told = zip(*completions.pairs(way), strict=True)
        texts = [one.text for one in told]
        words = [words_of(text, unit) for text in texts]
        ways[way] = {
            "completions": len(told),
            "endings": _endings(told, prompts),
            "repetition": repetition(words, words, prompts),
            "relevance": relevance(prompts, texts, lexicon),
        }
    return {"version": completions.version, "settings": asdict(completions.settings), "ways": ways}


def _endings(told: Sequence[Told], prompts: Sequence[str] | None = None) -> dict[str, Any]:
    return endings([story.text for story in told], [story.ended for story in told], prompts)
