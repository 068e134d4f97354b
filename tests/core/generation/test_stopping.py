"""Shown text: whole characters, and nothing from a stop string on, wherever tokens begin and end."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytale.data.tokenizer import Tokenizer
from tinytale.errors import UsageError
from tinytale.generation.stopping import StoryText


class Spelled(Tokenizer):
    """A tokenizer whose tokens are whatever bytes a test says."""

    def __init__(self, tokens: list[bytes]):
        self.tokens = tokens

    def token_bytes(self, index: int) -> bytes:
        return self.tokens[index]


def shown(tokens: list[bytes], *stop: str) -> list[str]:
    """The pieces that are given: one for each token, one at the end."""
    text = StoryText(Spelled(tokens), stop)
    return [*(text.feed(token) for token in range(len(tokens))), text.finish()]


def plain(text: str, stop: list[str]) -> str:
    """Character by character: what stands before the first stop string that is complete, or the longer of two."""
    for end in range(len(text) + 1):
        if complete := [string for string in stop if text[:end].endswith(string)]:
            return text[: end - max(map(len, complete))]
    return text


@pytest.mark.parametrize(
    ("tokens", "stop", "pieces"),
    [
        (["One", " day", "."], [], ["One", " day", ".", ""]),
        (["One", " day", ". A"], ["."], ["One", " day", "", ""]),
        (["a", "S", "T", "OP", "b"], ["STOP"], ["a", "", "", "", "", ""]),
        (["a", "S", "Ta", "b"], ["STOP"], ["a", "", "STa", "b", ""]),
        (["a", "ST"], ["STOP"], ["a", "", "ST"]),
        (["xS", "STOP"], ["STOP"], ["x", "S", ""]),
        (["ab", "ab", "ac"], ["abac"], ["", "ab", "", ""]),
        (["abc"], ["bc", "abc"], ["", ""]),
        (["abc"], ["abc", "b"], ["a", ""]),
        (["ab", "c"], ["abc", "b"], ["a", "", ""]),
    ],
)
def test_stop_strings_by_hand(tokens: list[str], stop: list[str], pieces: list[str]):
    assert shown([token.encode() for token in tokens], *stop) == pieces


def test_a_character_split_over_tokens_is_given_when_it_is_whole():
    fox, accent = "🦊".encode(), "é".encode()
    assert shown([b"a" + fox[:1], fox[1:3], fox[3:] + accent[:1], accent[1:]]) == ["a", "", "🦊", "é", ""]
    assert shown([fox[:2], b"a"]) == ["", "�a", ""]
    assert shown([b"a", fox[:2]]) == ["a", "", "�"]
    assert shown([b"a" + fox[:2], fox[2:] + b"b"], "🦊") == ["a", "", ""]


@given(
    st.text(alphabet="abé🦊", max_size=14),
    st.lists(st.text(alphabet="abé🦊", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(0, 56)),
)
def test_wherever_tokens_are_cut_the_text_is_the_plain_one_and_is_never_taken_back(text, stop, cuts):
    spelled = text.encode()
    places = sorted({0, len(spelled), *(cut for cut in cuts if cut < len(spelled))})
    tokens = [spelled[a:b] for a, b in pairwise(places)]
    pieces = shown(tokens, *stop)
    assert "".join(pieces) == plain(text, stop)


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=8))
def test_any_bytes_are_shown_as_they_decode_at_once(tokens: list[bytes]):
    assert "".join(shown(tokens)) == b"".join(tokens).decode("utf-8", "replace")


def test_an_empty_stop_string_is_refused():
    with pytest.raises(UsageError, match="a stop string is empty"):
        StoryText(Spelled([]), ["a", ""])
