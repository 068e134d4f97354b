"""What can be wrong with a story, in any language: wrongly decoded bytes, an end that is not one."""

import re
import unicodedata
from functools import lru_cache

WINDOWS_1252 = {
    ord(bytes([byte]).decode("cp1252")): byte
    for byte in range(0x80, 0x100)
    if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)  # undefined there: decoders pass them on
}

UTF8_OR_NOT = re.compile(
    rb"(?P<character>[\xC2-\xDF][\x80-\xBF]|\xE0[\xA0-\xBF][\x80-\xBF]|[\xE1-\xEC\xEE\xEF][\x80-\xBF]{2}"
    rb"|\xED[\x80-\x9F][\x80-\xBF]|\xF0[\x90-\xBF][\x80-\xBF]{2}|[\xF1-\xF3][\x80-\xBF]{3}|\xF4[\x80-\x8F][\x80-\xBF]{2})"
    rb"|[\xE0-\xEF][\x80-\xBF]|[\xF0-\xF4][\x80-\xBF]{1,2}"  # cut off: counts for neither side
    rb"|(?P<other>[\x80-\xFF])"
)
"""Well-formed characters of several bytes (Unicode 16, table 3-7), and bytes that are in none."""


def is_mojibake(story: str) -> bool:
    """Whether UTF-8 was once decoded as Windows-1252, which turns ’ into â€™.

    Written as Windows-1252 again, such a story holds UTF-8 characters of several bytes, and would get shorter and right
    if decoded as that. Well written text can hold one by chance („Das war Spaß“ does: ß“), so those characters must
    outnumber the bytes above 127 that are in none.
    """
    if story.isascii():
        return False
    found = list(UTF8_OR_NOT.finditer(story.translate(WINDOWS_1252).encode("latin-1", "replace")))
    characters = sum(match["character"] is not None for match in found)
    return characters > sum(match["other"] is not None for match in found)


def ends_open(story: str) -> bool:
    """Whether the last visible character is no closing punctuation: a sign that the story was cut off."""
    visible = (character for character in reversed(story) if unicodedata.category(character) not in ("Cf", "Mn"))
    return not _closes(next(visible, ""))


@lru_cache(maxsize=4096)
def _closes(character: str) -> bool:
    """Whether a character is of a Unicode category that ends sentences or quotations, and no comma or colon."""
    if not character or unicodedata.category(character) not in ("Po", "Pe", "Pf", "Pi"):
        return False
    name = unicodedata.name(character, "")
    return "COMMA" not in name and "COLON" not in name
