"""Whether a model follows a story: it says a hero's rare name again, and it knows the one right word of a sentence.

Both are asked in English, on openings and sentences of the project's own. Letters of shapes: B slots, V vocabulary.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from math import exp
from typing import Any, Literal, NamedTuple

from tinytale.addons.quality.lexicon import LETTERS
from tinytale.addons.quality.telling import tell_all
from tinytale.console import progress_bar
from tinytale.data.tokenizer import Tokenizer
from tinytale.evaluation.intervals import share
from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Decoding, Text, next_logits

Naming = Literal["rare", "common"]


@dataclass(frozen=True, kw_only=True)
class NameSettings:
    """How the openings are gone on with: plain sampling, so that nothing but the model favours a name."""

    max_new_tokens: int = 80
    temperature: float = 0.8
    seed: int = 0


@dataclass(frozen=True)
class Opening:
    """How a story of a hero begins, with the hero's name in it."""

    name: str
    text: str


def read_openings() -> tuple[int, dict[Naming, list[Opening]]]:
    """The version of the list, and its openings: with rare names, and the same ones with common names."""
    content = _read("rare_names.toml")
    namings: tuple[Naming, Naming] = ("rare", "common")
    return content["version"], {
        naming: [
            Opening(hero[naming], text.format(name=hero[naming]))
            for hero in content["heroes"]
            for text in hero["openings"]
        ]
        for naming in namings
    }


def says(text: str, name: str) -> bool:
    """Whether the name is a word of the text, written as it is; `Oksana's` has it, `Oksanas` and `oksana` have not."""
    return name in LETTERS.findall(text)


def names_said_again(
    decoder: Decoder,
    tokenizer: Tokenizer,
    version: int,
    openings: dict[Naming, list[Opening]],
    settings: NameSettings,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The share of openings in whose continuation the hero's name comes again; and every continuation, to be read.

    Openings with the same name are no independent witnesses, and count as one to the interval.
    """
    figures, told = {}, {}
    for naming, asked in openings.items():
        texts = tell_all(
            decoder,
            tokenizer,
            [tokenizer.encode(opening.text) for opening in asked],
            Decoding(temperature=settings.temperature),
            [(settings.seed, place) for place in range(len(asked))],
            settings.max_new_tokens,
            f"openings: {naming} names",
        )
        told[naming] = [
            {**asdict(opening), "continuation": text.text, "said_again": says(text.text, opening.name)}
            for opening, text in zip(asked, texts, strict=True)
        ]
        groups = [opening.name for opening in asked]
        figures[naming] = {
            "openings": len(asked),
            "names": len(set(groups)),
            "said_again": share([one["said_again"] for one in told[naming]], groups=groups),
        }
    known = {"version": version, "settings": asdict(settings)}
    return {**known, **figures}, {**known, **told}


@dataclass(frozen=True)
class Sentence:
    """A sentence up to a word, and that word, the one that is right."""

    kind: str
    """`fact`, `cause`, `possession` or `speaker`."""
    text: str
    word: str


def read_sentences() -> tuple[int, list[Sentence]]:
    """The version of the list, and the sentences."""
    content = _read("right_words.toml")
    return content["version"], [
        Sentence(kind, *one) for kind, several in content["sentences"].items() for one in several
    ]


class Likelihood(NamedTuple):
    """How likely a word is after a text."""

    probability: float
    """Of all its tokens; whether the word ends after them is not asked."""
    likeliest: bool
    """Whether no token is likelier than its first one."""


def likelihood(decoder: Decoder, context: Sequence[int], word: Sequence[int]) -> Likelihood:
    r"""The probability of the tokens $w_1 \dots w_n$ of a word after a context $c$, by the chain rule, in float64.

    $$P(w \mid c) = \prod_{i=1}^{n} P(w_i \mid c, w_1, \dots, w_{i-1})$$

    Raises:
        TaleError: the model's numbers are not finite.
    """
    text, nats, likeliest = Text(context, decoder.context_length), 0.0, False
    for place, token in enumerate(word):
        _, logits_BV = next_logits(decoder, {0: text})
        logits_V = logits_BV[0].double()
        nats -= float(logits_V.log_softmax(-1)[token])
        if place == 0:
            likeliest = bool(logits_V[token] == logits_V.max())
        text.append(token)
    return Likelihood(exp(-nats), likeliest)


def right_words(
    decoder: Decoder, tokenizer: Tokenizer, version: int, sentences: list[Sentence]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """How likely the right words are, with the blank before them; and the same sentence by sentence, to be read."""
    told = []
    with progress_bar("sentence") as bar:
        for sentence in bar.track(sentences, description="right words"):
            context = [tokenizer.end_of_text, *tokenizer.encode(sentence.text)]
            found = likelihood(decoder, context, tokenizer.encode(f" {sentence.word}"))
            told.append({**asdict(sentence), **found._asdict()})
    kinds = dict.fromkeys(one["kind"] for one in told)
    figures = {
        "version": version,
        "sentences": len(told),
        "probability": share([one["probability"] for one in told]),
        "by_kind": {kind: share([one["probability"] for one in told if one["kind"] == kind]) for kind in kinds},
        "likeliest": share([one["likeliest"] for one in told]),
    }
    return figures, {"version": version, "sentences": told}


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files("tinytale.addons.quality").joinpath(name).read_text(encoding="utf-8"))
