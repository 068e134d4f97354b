"""Stories in batches and streamed, with a tokenizer that splits emoji and accents over tokens."""

from pathlib import Path

import pytest
import torch

from tinytale.data.tokenizer import Tokenizer, load_tokenizer
from tinytale.errors import UsageError
from tinytale.generation.decoding import Choice, Decoding, random_numbers
from tinytale.generation.stories import Writer, record, stream_story, tell_stories
from tinytale.generation.torch_decoder import TorchDecoder

TEXT = "Zoë saw a 🦊 and a café 👩‍🚀. Then naïve 日本 came home."


@pytest.fixture(scope="module")
def tokenizer(dataset: Path) -> Tokenizer:
    return load_tokenizer(dataset)


def telling(tokens: list[int]) -> Choice:
    """The choice that tells these tokens."""
    ahead = iter(tokens)
    return lambda logits_V, text, randoms: next(ahead)


@pytest.mark.parametrize("stop", [(), ("e",), (". Th",), ("🦊",), ("👩", "naïve"), ("🦝",)], ids=str)
def test_streamed_text_is_the_unstreamed_one_byte_for_byte(table, tokenizer: Tokenizer, stop):
    tokens = [*tokenizer.encode(TEXT), tokenizer.end_of_text]
    assert len(tokens) > len(TEXT.split())
    spelled = [tokenizer.token_bytes(token).decode("utf-8", "replace") for token in tokens]
    assert sum("�" in piece for piece in spelled) > 10
    (story,) = tell_stories(table(300, 2), tokenizer, ["A"], telling(tokens), [random_numbers(0, 0)], 300, stop)
    pieces = list(stream_story(table(300, 1), tokenizer, "A", telling(tokens), random_numbers(0, 0), 300, stop))
    expected = min((TEXT.split(string)[0] for string in stop), key=len, default=TEXT)
    assert "".join(pieces).encode() == story.text.encode() == expected.encode()
    assert "" not in pieces and not any("�" in piece for piece in pieces)
    assert len(pieces) > len(expected) / 3
    assert story.ended == ("end of text" if expected == TEXT else "stop string")
    assert str(story) == "A" + expected


def test_drawn_stories_are_streamed_as_they_are_told_in_a_batch(lively, tokenizer: Tokenizer):
    model, choose = lively("fused", vocab_size=300, layers=1), Decoding().choice()
    prompts = ["Zoë 🦊 " * (number % 3) for number in range(12)]
    stories = tell_stories(
        TorchDecoder(model, 5), tokenizer, prompts, choose, [random_numbers(0, n) for n in range(12)], 20, ["a", "e"]
    )
    assert {story.ended for story in stories} >= {"stop string", "limit"}
    for number, story in enumerate(stories):
        decoder, randoms = TorchDecoder(model, 1), random_numbers(0, number)
        pieces = stream_story(decoder, tokenizer, prompts[number], choose, randoms, 20, ["a", "e"])
        assert "".join(pieces) == story.text


def test_every_token_is_recorded_with_the_models_own_log_probability(lively, tokenizer: Tokenizer):
    model, choose = lively(vocab_size=300, context_length=32), Decoding(temperature=0.5, top_k=40).choice()
    (story,) = tell_stories(TorchDecoder(model, 1), tokenizer, ["Hi"], choose, [random_numbers(0, 0)], 9, (), 3)
    text = [tokenizer.end_of_text, *tokenizer.encode("Hi")]
    assert len(story.tokens) == 9 and story.ended == "limit"
    for entry in story.tokens:
        with torch.no_grad():
            logs_V = model(torch.tensor([text]))[0, -1].log_softmax(-1)
        assert entry.log_probability == pytest.approx(logs_V[entry.token].item(), abs=1e-4)
        best = logs_V.topk(3)
        assert [token for token, _ in entry.alternatives] == best.indices.tolist()
        assert [value for _, value in entry.alternatives] == pytest.approx(best.values.tolist(), abs=1e-4)
        text.append(entry.token)
    assert story.text == tokenizer.decode(entry.token for entry in story.tokens)


def test_a_record_by_hand():
    logits_V = torch.tensor([0.5, 0.2, 0.3]).log() + 7
    found = record(logits_V, 1, 2)
    assert found.log_probability == pytest.approx(torch.tensor(0.2).log().item())
    assert [token for token, _ in found.alternatives] == [0, 2]
    assert record(logits_V, 1).alternatives == () and len(record(logits_V, 1, 9).alternatives) == 3


def test_the_end_of_text_and_what_completes_a_stop_string_are_recorded(table, tokenizer: Tokenizer):
    tokens = [*tokenizer.encode("abc"), tokenizer.end_of_text]
    told = [
        tell_stories(table(300, 1), tokenizer, [""], telling(tokens), [random_numbers(0, 0)], 9, stop)[0]
        for stop in ((), ("c",))
    ]
    assert [entry.token for entry in told[0].tokens] == tokens
    assert [entry.token for entry in told[1].tokens] == tokens[:-1]


def test_nothing_is_computed_after_a_stop_string(table, tokenizer: Tokenizer):
    tokens = tokenizer.encode("abcdefgh")
    streaming, batched = table(300, 1), table(300, 1)
    assert "".join(stream_story(streaming, tokenizer, "", telling(tokens), random_numbers(0, 0), 8, ["c"])) == "ab"
    tell_stories(batched, tokenizer, [""], telling(tokens), [random_numbers(0, 0)], 8, ["c"])
    assert len(streaming.steps) == len(batched.steps) == tokens.index(tokenizer.encode("c")[0])


def test_what_cannot_be_told_is_refused_before_the_first_piece(table, tokenizer: Tokenizer):
    for prompt, stop, message in (("\ud800", (), "half a character"), ("a", ("",), "stop string is empty")):
        with pytest.raises(UsageError, match=message):
            stream_story(table(300, 1), tokenizer, prompt, telling([1]), random_numbers(0, 0), 9, stop)


def test_who_wants_no_records_gets_none(tokenizer: Tokenizer):
    writer, tokens = Writer(tokenizer, ["c"], None), tokenizer.encode("abc")
    assert [writer.keep(torch.zeros(300), token) for token in tokens][-1] == tokenizer.end_of_text
    assert writer.tokens == tokens and writer.records == [] and writer.ended == "stop string"
    assert writer.story("x").text == "ab"
