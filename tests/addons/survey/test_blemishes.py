"""Wrongly decoded bytes and open ends, in many languages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytale.addons.survey.blemishes import ends_open, is_mojibake

RIGHT = [
    "“It’s here,” she said — “café!”",
    "„Das war Spaß“",
    "„Das war Spaß“, rief Jörg. »Groß«, sagte Käthe.",
    "Il cria : « CAFÉ » et « À bientôt… ».",
    "¿Dónde está el niño? «AQUÍ»",
    "Жила-была девочка. «Ой!» — сказала она.",
    "从前有一只小狐狸。“你好！”它说。",
    "كان يا ما كان، في قديم الزمان.",
    "Ein Stern ⭐, ein Schiff ⛵ und 🦊.",
    "Plain ASCII.",
    "",
]


def spoil(text: str, encoding: str = "cp1252") -> str:
    """Decode UTF-8 wrongly, as browsers do: bytes that the code page does not define stay what they are."""
    return "".join(
        chr(byte) if encoding == "latin-1" or byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes([byte]).decode("cp1252")
        for byte in text.encode("utf-8")
    )


@pytest.mark.parametrize("text", RIGHT)
def test_right_text_is_no_mojibake(text: str):
    assert not is_mojibake(text)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_text_decoded_wrongly_is_mojibake(encoding: str, text: str):
    assert is_mojibake(spoil(text, encoding)) == (not text.isascii())


def test_lost_bytes_do_not_hide_mojibake():
    """The ninth part of ” is undefined in the code page; many texts have lost it."""
    spoilt = spoil("“Hi,” said Ann. “It’s me.”").replace("\x9d", "")
    assert spoilt.count("â€") == 5
    assert is_mojibake(spoilt)


@pytest.mark.parametrize(
    "end", [".", "!", "?", '"', "”", "»", "“", "«", "…", ")", "。", "！", "」", "؟", "।", "።", ".\u200f"]
)
def test_a_story_with_closing_punctuation_has_an_end(end: str):
    assert not ends_open(f"Ende{end}")


@pytest.mark.parametrize("end", ["", ",", ":", ";", "-", "—", "(", "„", "，", "、", "،", "؛", "a", "字", "7", "\u0301"])
def test_a_story_without_has_not(end: str):
    assert ends_open(f"Ende{end}")
