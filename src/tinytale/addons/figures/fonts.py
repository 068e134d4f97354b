"""Fonts for what people write: matplotlib's own has no Chinese, and a letter that no font has becomes an empty box."""

import unicodedata
from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

from tinytale.console import console

EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO")
"""How the Unicode names of those letters begin."""


def families_for(text: str) -> list[str]:
    """The installed fonts that have what matplotlib's own (DejaVu Sans) lacks of a text, to be named after it.

    What no font has is said on the console.
    """
    own = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
    return list(installed_with(frozenset(letter for letter in text if seen(letter) and ord(letter) not in own)))


def add_families(figure: Figure) -> None:
    """Let every text of a figure fall back on the installed fonts that have its letters."""
    texts = figure.findobj(Text)
    more = families_for("".join(text.get_text() for text in texts))
    for text in texts if more else ():
        text.set_fontfamily([*dict.fromkeys([*text.get_fontfamily(), "DejaVu Sans", *more])])


def seen(letter: str) -> bool:
    """Whether a letter is to be drawn at all."""
    return letter.isprintable() and not letter.isspace()


def letters_of(path: str) -> set[str]:
    """What a font has; nothing, if matplotlib cannot draw with it."""
    try:
        return set(map(chr, font_manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return set()


@cache
def installed_with(letters: frozenset[str]) -> tuple[str, ...]:
    """The families of a few installed fonts that have these letters between them; what none has is said once.

    Fonts are looked for anew, since matplotlib does not notice one that was installed after its list was made.
    """
    missing, found = set(letters), []
    paths = sorted(font_manager.findSystemFonts(), key=lambda path: ("regular" not in path.lower(), path))
    has = {path: letters & letters_of(path) for path in paths} if letters else {}
    while path := max(has, key=lambda path: len(has[path] & missing), default=None):
        if not has[path] & missing:
            break
        font_manager.fontManager.addfont(path)
        found.append(FontProperties(fname=path).get_name())
        missing -= has[path]
    if missing:
        some = ", ".join(sorted(missing)[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        asian = any(unicodedata.name(letter, "").startswith(EAST_ASIAN) for letter in missing)
        font, package = ("Noto Sans CJK", "fonts-noto-cjk") if asian else ("Noto Sans", "fonts-noto-core")
        console.print(
            f"No installed font has {some}: empty boxes stand there. Install one that has, such as {font}"
            f" (Debian, Ubuntu: apt install {package}), and draw again",
            style="yellow",
            soft_wrap=True,
        )
    return tuple(found)
