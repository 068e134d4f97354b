"""How should stories be drawn? The same weights tell with several settings, and each has its figures.

    python tools/sampling.py FOLDER DATASET --out docs/results/sampling

For each setting: 200 stories without a prompt, and the openings with rare names. The figures are kept, and beside them
the stories, for readers.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinytale.addons.quality.diversity import diversity
from tinytale.addons.quality.endings import endings
from tinytale.addons.quality.lexicon import Lexicon
from tinytale.addons.quality.repetition import repetition
from tinytale.addons.quality.sense import read_openings, says
from tinytale.addons.quality.spelling import spelling
from tinytale.addons.quality.telling import Told, tell_all
from tinytale.addons.survey.sequences import words_of
from tinytale.console import console
from tinytale.data.shards import Manifest
from tinytale.data.stored import open_splits
from tinytale.data.tokenizer import Tokenizer, load_tokenizer
from tinytale.evaluation.intervals import ends_text, share
from tinytale.files import write_json
from tinytale.generation.choosing import decoder_for
from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Decoding
from tinytale.model.folder import load_model
from tinytale.runs import find_folder, model_folder

STORIES, NEW_TOKENS, OPENING_TOKENS, SLOTS = 200, 400, 80, 32

SETTINGS: dict[str, Decoding] = {
    **{f"temperature {t:g}": Decoding(temperature=t) for t in (0.5, 0.6, 0.7, 0.8, 1.0)},
    "temperature 0.8, top-p 0.9": Decoding(temperature=0.8, top_p=0.9),
    "temperature 1, top-p 0.9": Decoding(temperature=1.0, top_p=0.9),
    "temperature 0.8, min-p 0.1": Decoding(temperature=0.8, min_p=0.1),
    "temperature 1, min-p 0.1": Decoding(temperature=1.0, min_p=0.1),
    "temperature 0.8, repetition penalty 1.1": Decoding(temperature=0.8, repetition_penalty=1.1),
}

COLUMNS = {
    "rare names": ".1%",
    "ended": ".1%",
    "rep-4": ".1%",
    "distinct-2": ".1%",
    "self-BLEU": ".1f",
    "unknown words": ".2%",
}


def figures_of(stories: list[Told], lexicon: Lexicon) -> dict[str, Any]:
    """The suite's measures that a way of drawing moves."""
    words = [words_of(told.text, "word") for told in stories]
    diverse = diversity(words, "word", lambda count: None)
    ends = endings([told.text for told in stories], [told.ended for told in stories])
    return {
        "ended": ends["ended"],
        "rep-4": repetition(words, words)["rep_4"],
        "distinct-2": diverse["distinct_2"],
        "self-BLEU": diverse["self_bleu"],
        "unknown words": spelling([told.whole_words("word") for told in stories], lexicon)["unknown"],
    }


def names_of(decoder: Decoder, tokenizer: Tokenizer, decoding: Decoding) -> dict[str, Any]:
    """The share of openings whose hero's rare name is said again, drawn so."""
    openings = read_openings()[1]["rare"]
    prompts = [tokenizer.encode(opening.text) for opening in openings]
    seeds = [(0, place) for place in range(len(openings))]
    told = tell_all(decoder, tokenizer, prompts, decoding, seeds, OPENING_TOKENS, "openings")
    said = [says(text.text, opening.name) for text, opening in zip(told, openings, strict=True)]
    figure = share(said, groups=[opening.name for opening in openings])
    assert figure is not None
    return figure


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    folder = model_folder(find_folder(asked.folder))
    tokenizer = load_tokenizer(folder)
    lexicon = Lexicon(open_splits(asked.dataset, Manifest.load(asked.dataset))["train"], "word")
    decoder = decoder_for(load_model(folder), SLOTS)
    result: dict[str, dict[str, Any]] = {}
    print("| " + " | ".join(("drawn with", *COLUMNS)) + " |\n| --- |" + " --: |" * len(COLUMNS))
    for name, decoding in SETTINGS.items():
        seeds = [(0, sample) for sample in range(STORIES)]
        told = tell_all(decoder, tokenizer, [[]] * STORIES, decoding, seeds, NEW_TOKENS, name)
        found: dict[str, Any] = figures_of(told, lexicon) | {"rare names": names_of(decoder, tokenizer, decoding)}
        result[name] = {"settings": asdict(decoding), **found}
        file = name.replace(" ", "-").replace(",", "").replace(".", "")
        write_json(asked.out / "stories" / f"{file}.json", {"stories": [story.text for story in told]})
        cells = (
            f"{found[column]['value']:{form}} ({ends_text(found[column]['interval_95'], form)})"
            for column, form in COLUMNS.items()
        )
        print("| " + " | ".join((name, *cells)) + " |", flush=True)
    write_json(asked.out / "figures.json", result)
    console.print(f"Written to {asked.out}")


if __name__ == "__main__":
    main()
