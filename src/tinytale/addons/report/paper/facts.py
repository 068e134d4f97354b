"""Numbers of a report: each is printed from a file, and knows the file and the place in it."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp, log, prod
from pathlib import Path
from typing import Any, TypeAlias

from tinytale.errors import TaleError
from tinytale.files import read_json
from tinytale.model.weight_files import open_weights
from tinytale.training.display import clock
from tinytale.training.metrics import read_metrics

Key: TypeAlias = tuple[str | int, ...]
"""A way through nested mappings and lists."""

RULES: dict[str, Callable[..., float]] = {
    "value": lambda value: value,
    "sum": lambda *values: sum(values),
    "mean": lambda *values: sum(values) / len(values),
    "difference": lambda one, other: one - other,
    "product": lambda *values: prod(values),
    "ratio": lambda one, other: one / other,
    "scaled": lambda value, to, of: value * to / of,
    "scaled ratio": lambda value, to, of, other: value * to / of / other,
    "perplexity at": lambda loss, end, bits: exp(loss * end / bits),
    "bits per byte": lambda loss, bytes_per_token: loss / (log(2) * bytes_per_token),
    "words": lambda text: len(text.split()),
    "count": len,
}
"""What may be made of the values of files: few, so that a reader can repeat them."""

FORMS: dict[str, Callable[[float], str]] = {
    "millions": lambda value: (
        f"{value / 1e6:,.{0 if value >= 1e8 else 3}{'f' if value >= 1e8 else 'g'}}\N{NO-BREAK SPACE}million"
    ),
    "mega": lambda value: f"{value / 1e6:.{'2g' if value < 1e6 else '1f' if value < 1e8 else '0f'}}",
    "short": lambda value: _short(value),
    "clock": lambda value: _duration(value),
}
"""How numbers are printed that no format specification of Python prints."""


@dataclass(frozen=True)
class Origin:
    """Where a value stands: a file, as the report names it, and the key in it."""

    file: str
    key: Key

    def __str__(self) -> str:
        return f"{self.file}: {'/'.join(map(str, self.key))}"


@dataclass(frozen=True)
class Fact:
    """A number as the report prints it, and what it was made from."""

    value: float | int
    form: str
    """A format specification of Python, or a name in `FORMS`."""
    rule: str
    """A name in `RULES`, applied to the values of the origins."""
    origins: tuple[Origin, ...]

    @property
    def shown(self) -> str:
        """As it stands in the report, with a true minus."""
        return show(self.value, self.form)

    @property
    def source(self) -> str:
        """For a person: what it is, of which file."""
        named = ", ".join(map(str, self.origins))
        return named if self.rule == "value" else f"{self.rule} of {named}"

    def to_json(self) -> dict[str, Any]:
        """For the list of numbers that goes with a report."""
        origins = [{"file": origin.file, "key": list(origin.key)} for origin in self.origins]
        return {"shown": self.shown, "form": self.form, "rule": self.rule, "origins": origins}


@dataclass(frozen=True)
class Source:
    """A file that numbers come from."""

    name: str
    """As the report names it, whatever folder it lies in."""
    path: Path
    content: Any = field(repr=False)

    @classmethod
    def read(cls, path: Path, name: str) -> "Source":
        """Read JSON, JSON lines, TOML, or of a GPT-2 folder how many weights it has.

        Raises:
            TaleError: the file is missing or damaged; the message names it.
        """
        return cls(name, path, read_content(path))

    def get(self, *key: str | int) -> Any:
        """The value there; None if there is none."""
        value = self.content
        for part in key:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def fact(self, *key: str | int, form: str = ",") -> Fact:
        """The number there.

        Raises:
            TaleError: there is none.
        """
        return self.derived("value", form, key)

    def derived(self, rule: str, form: str, *keys: Key) -> Fact:
        """A number made from several of this file."""
        return derive(rule, form, *((self, key) for key in keys))


def derive(rule: str, form: str, *places: tuple[Source, Key]) -> Fact:
    """A number made by a rule from the values at some places.

    Raises:
        TaleError: one of them has no number, or the rule no result.
    """
    values = [source.get(*key) for source, key in places]
    origins = tuple(Origin(source.name, key) for source, key in places)
    try:
        value = RULES[rule](*values)
        fact = Fact(value, form, rule, origins)
        assert fact.shown
    except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        where = ", ".join(f"{source.path} ({'/'.join(map(str, key))})" for source, key in places)
        raise TaleError(f"a number is missing or of another kind: {where} holds {values!r}") from error
    return fact


def show(value: float | int, form: str) -> str:
    """A number as text."""
    text = FORMS[form](value) if form in FORMS else format(value, form)
    return text.replace("-", "−") if text.startswith("-") else text


def read_content(path: Path) -> Any:
    """What a file holds, as nested mappings and lists.

    Raises:
        TaleError: the file is missing or damaged; the message names it.
    """
    if path.suffix == ".jsonl":
        return list(read_metrics(path))
    if path.suffix == ".toml":
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise TaleError(f"{path} cannot be read as TOML: {error}") from error
    if path.is_dir():
        with open_weights(path) as weights:
            return {"parameters": sum(prod(weights.shape(name)) for name in weights)}
    return read_json(path)


def _short(value: float | int) -> str:
    """Three digits and a letter for thousand, million, milliard."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            digits = value / size
            return f"{digits:.{max(0, 3 - len(str(int(digits))))}f}{letter}"
    return f"{value:,.0f}"


def _duration(seconds: float | int) -> str:
    """Hours and minutes, or minutes and seconds."""
    parts = [int(part) for part in clock(float(seconds)).split(":")]
    units = ("h", "min", "s")[-len(parts) :]
    return "\N{NO-BREAK SPACE}".join(
        f"{part}\N{NO-BREAK SPACE}{unit}"
        for part, unit in list(zip(parts, units, strict=True))[:2]
        if part or unit == "s"
    )
