"""A look as a table for the terminal."""

from typing import Any

from rich.table import Table
from rich.text import Text

MOST_BITS = 12
"""From here on a surprise is painted at full strength, as on the page."""


def look_table(data: dict[str, Any]) -> Table:
    """A row for each token: its surprise, and what the model expected instead."""
    table = Table(
        box=None, caption="surprise in bits; what the model expected there, and how sure it was", caption_justify="left"
    )
    for heading in ("token", "bits", "expected"):
        table.add_column(heading, justify="right" if heading == "bits" else "left")
    before: list[dict[str, Any]] = []
    for token in data["tokens"]:
        bits = token["bits"]
        row = Text(visible(token["text"]), style="" if bits is None else shade(bits))
        expected = ", ".join(f"{visible(guess['text'])} {guess['probability']:.0%}" for guess in before[:3])
        table.add_row(row, "" if bits is None else f"{bits:.1f}", Text(expected, style="dim"))
        before = token["candidates"]
    return table


def visible(text: str) -> str:
    """A token as it can be seen: blanks at its ends and line ends get a sign."""
    return text.replace("\n", "⏎").replace(" ", "␣")


def shade(bits: float) -> str:
    """From no colour to red, white letters on it; they can be read on terminals of any colour."""
    strength = min(1.0, bits / MOST_BITS)
    return f"white on #{int(190 * strength):02x}0000" if strength > 1 / 4 else ""
