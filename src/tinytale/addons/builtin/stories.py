"""The project's own stories: a small grammar that writes simple children's stories, for trying things out.

`builtin.toml` holds every word, and says how its texts are read. A story is one plot of that file, told with a cast
that is drawn once: whoever is called {hero} in the first line is {hero} in the last, and so is the {thing} that was
lost. The texts are synthetic: a model that learns them has learned this grammar, and no more.
"""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from random import Random
from typing import Any, TypeAlias

INDEX_LIMIT = 2**64


def story(seed: int, index: int, *, varied_names: bool = False) -> str:
    """Story number `index` of the endless collection that `seed` names: two to five paragraphs, split by newlines.

    A pure function: the same text on every machine and every Python, in whatever order the stories are asked for.
    `varied_names` invents the names instead of taking one of a few, so that new words never stop coming.

    Raises ValueError unless 0 <= seed and 0 <= index < 2**64.
    """
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if not 0 <= index < INDEX_LIMIT:
        raise ValueError(f"index must be from 0 to {INDEX_LIMIT - 1}, got {index}")
    # Of Random, only random() is used: Python promises its sequence for an integer seed, but not how choice() uses it.
    draw = Random(seed * INDEX_LIMIT + index).random
    grammar = _grammar()
    plot = _one(draw, grammar.plots)
    cast = grammar.draw_cast(draw, varied_names)
    cast.add(draw, plot.slots)
    paragraphs = (
        " ".join(sentence for line in paragraph if (sentence := _expand(line, draw))) for paragraph in plot.paragraphs
    )
    return "\n".join(paragraphs) % cast


Draw: TypeAlias = Callable[[], float]


@dataclass(frozen=True, slots=True)
class _OneOf:
    """A place in a text where one of several texts is drawn."""

    options: "tuple[_Text, ...]"


@dataclass(frozen=True, slots=True)
class _AllOf:
    """Texts that follow one another."""

    parts: "tuple[_Text, ...]"


# A plain string is ready for the `%` operator: the slot {hero} stands in it as %(hero)s.
_Text: TypeAlias = str | _OneOf | _AllOf
# What fills a slot: a text, or one of several records whose fields fill {slot.field}.
_Filling: TypeAlias = _Text | tuple[dict[str, _Text], ...]


def _one(draw: Draw, options: tuple[Any, ...]) -> Any:
    return options[int(draw() * len(options))]


def _expand(text: _Text, draw: Draw) -> str:
    """Draw every choice in a text, from left to right."""
    strings: list[str] = []
    ahead = [text]
    while ahead:
        part = ahead.pop()
        if isinstance(part, str):
            strings.append(part)
        elif isinstance(part, _OneOf):
            ahead.append(part.options[int(draw() * len(part.options))])
        else:
            ahead.extend(reversed(part.parts))
    return "".join(strings)


class _Cast(dict[str, str]):
    """What stands in each slot of one story.

    Any slot may be asked for with its article ("a thing") or with a capital letter ("Thing").
    """

    def __missing__(self, slot: str) -> str:
        if slot != slot.lower():
            words = self[slot.lower()]
            return words[0].upper() + words[1:]
        if slot.startswith("a "):
            words = self[slot[2:]]
            return f"an {words}" if words[0] in "aeiou" else f"a {words}"
        raise KeyError(slot)

    def add(self, draw: Draw, slots: dict[str, _Filling]) -> None:
        """Fill more slots. Their texts may use the slots that are filled already."""
        for slot, filling in slots.items():
            if isinstance(filling, tuple):
                for field, text in _one(draw, filling).items():
                    self[f"{slot}.{field}"] = _expand(text, draw) % self
            else:
                self[slot] = _expand(filling, draw) % self


@dataclass(frozen=True, slots=True)
class _Sort:
    """The characters that share a pronoun."""

    pronouns: dict[str, str]
    kind: _Text
    names: tuple[str, ...]
    endings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Plot:
    slots: dict[str, _Filling]
    paragraphs: tuple[tuple[_Text, ...], ...]


@dataclass(frozen=True, slots=True)
class _Grammar:
    plots: tuple[_Plot, ...]
    slots: dict[str, _Filling]
    sorts: tuple[_Sort, _Sort]
    syllables: tuple[str, ...]

    def draw_cast(self, draw: Draw, varied_names: bool) -> _Cast:
        """A hero, a friend with the other pronoun, and what every plot may use."""
        cast = _Cast()
        first, second = self.sorts if draw() < 0.5 else reversed(self.sorts)
        for role, prefix, sort in (("hero", "", first), ("friend", "f.", second)):
            cast[role] = self._invent_name(draw, sort) if varied_names else _one(draw, sort.names)
            cast[f"{prefix}kind"] = _expand(sort.kind, draw)
            for pronoun, word in sort.pronouns.items():
                cast[prefix + pronoun] = word
        cast.add(draw, self.slots)
        return cast

    def _invent_name(self, draw: Draw, sort: _Sort) -> str:
        syllables = [_one(draw, self.syllables) for _ in range(3 + int(draw() * 2))]
        return "".join(syllables).capitalize() + _one(draw, sort.endings)


@cache
def _grammar() -> _Grammar:
    source = tomllib.loads(
        resources.files("tinytale.addons.builtin").joinpath("builtin.toml").read_text(encoding="utf-8")
    )
    phrases: dict[str, _Text] = {}
    for name, text in source["phrases"].items():
        phrases[name] = _OneOf(_lines(text, phrases)[0]) if "\n" in text else _parse(text, phrases)

    def filling(value: str | list[dict[str, str]]) -> _Filling:
        if isinstance(value, str):
            return _parse(value, phrases)
        return tuple({field: _parse(text, phrases) for field, text in record.items()} for record in value)

    def plot(table: dict[str, Any]) -> _Plot:
        blocks = table["text"].strip().split("\n\n")
        return _Plot(
            slots={slot: filling(value) for slot, value in table.items() if slot != "text"},
            paragraphs=tuple(tuple(_OneOf(line) for line in _lines(block, phrases)) for block in blocks),
        )

    def sort(table: dict[str, Any]) -> _Sort:
        return _Sort(table["pronouns"], _parse(table["kind"], phrases), tuple(table["names"]), tuple(table["endings"]))

    return _Grammar(
        plots=tuple(plot(table) for table in source["plots"].values()),
        slots={slot: filling(value) for slot, value in source["cast"].items()},
        sorts=(sort(source["he"]), sort(source["she"])),
        syllables=tuple(source["invented"]["syllables"]),
    )


def _lines(block: str, phrases: dict[str, _Text]) -> list[tuple[_Text, ...]]:
    """The lines of a paragraph, each with its other ways of being said."""
    lines: list[list[_Text]] = []
    for line in block.strip().splitlines():
        if line.startswith("|"):
            lines[-1].append(_parse(line[1:].strip(), phrases))
        else:
            lines.append([_parse(line, phrases)])
    return [tuple(line) for line in lines]


def _parse(text: str, phrases: dict[str, _Text]) -> _Text:
    """Read a text with [choices], <phrases> and {slots}."""
    tokens = re.findall(r"[\[\]|]|<[^>]*>|[^\[\]|<]+", text)

    def sequence() -> _Text:
        parts: list[_Text] = []
        while tokens and tokens[0] not in ("|", "]"):
            token = tokens.pop(0)
            if token == "[":
                parts.append(choice())
            elif token.startswith("<"):
                parts.append(phrases[token[1:-1]])
            else:
                parts.append(re.sub(r"\{([^}]*)\}", r"%(\1)s", token))
        if all(isinstance(part, str) for part in parts):
            return "".join(map(str, parts))
        return parts[0] if len(parts) == 1 else _AllOf(tuple(parts))

    def choice() -> _Text:
        options = [sequence()]
        while tokens.pop(0) == "|":
            options.append(sequence())
        return _OneOf(tuple(options))

    parsed = sequence()
    assert not tokens, f"unbalanced brackets in {text!r}"
    return parsed
