import base64
import math

import pytest
import torch

from tinytale.addons.inspection.look import look
from tinytale.addons.inspection.page_data import packed, page_data, token_text
from tinytale.addons.inspection.split import split_data
from tinytale.config import ModelConfig
from tinytale.data.tokenizer import Tokenizer, load_tokenizer
from tinytale.errors import UsageError
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2

TOKENS = [10, 3, 7, 7, 1, 0, 9]


def tiny(**changes) -> GPT2:
    torch.manual_seed(0)
    sizes = {"vocab_size": 11, "context_length": 8, "layers": 3, "heads": 2, "width": 8}
    model = GPT2(ModelConfig(**{**sizes, **changes})).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def test_a_look_is_what_transformers_computes(tmp_path):
    from transformers import GPT2LMHeadModel

    model = tiny()
    save_model(tmp_path, model, end_of_text=10)
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    with torch.inference_mode():
        out = theirs(torch.tensor([TOKENS]), output_attentions=True, output_hidden_states=True)
        head, norm = theirs.lm_head, theirs.transformer.ln_f
        lens = [head(norm(hidden))[0] for hidden in out.hidden_states[:-1]] + [head(out.hidden_states[-1])[0]]
    seen = look(model, TOKENS)
    torch.testing.assert_close(seen.attention_LHTS, torch.cat(out.attentions), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        torch.stack([seen.lens(layer) for layer in range(len(lens))]), torch.stack(lens), atol=1e-4, rtol=1e-5
    )


@pytest.mark.parametrize("changes", [{}, {"norm": "post"}, {"positions": "sinusoidal"}], ids=str)
def test_the_last_lens_is_the_output_and_attention_is_causal(changes):
    model = tiny(**changes)
    seen = look(model, TOKENS)
    torch.testing.assert_close(seen.logits, model(torch.tensor([TOKENS]))[0].detach())
    torch.testing.assert_close(seen.attention_LHTS.sum(-1), torch.ones(3, 2, 7))
    assert seen.attention_LHTS.triu(1).count_nonzero() == 0
    assert not any(module._forward_hooks for module in model.modules())


def test_surprise_by_hand():
    seen = look(tiny(), TOKENS)
    chances = seen.logits.softmax(-1)
    bits = [-math.log2(chances[place, token]) for place, token in enumerate(TOKENS[1:])]
    assert seen.surprise().tolist() == pytest.approx(bits, rel=1e-4)


def test_a_text_that_is_empty_or_too_long_is_refused_and_leaves_no_hook():
    model = tiny()
    with pytest.raises(UsageError, match="no token to look at"):
        look(model, [])
    with pytest.raises(UsageError, match="9 tokens, but the model's context is 8"):
        look(model, [1] * 9)
    assert not model.blocks[0]._forward_pre_hooks


def test_packed_attention_is_read_back():
    weights_TS = torch.tensor([[1.0, 0, 0], [0.25, 0.75, 0], [0.2, 0.3, 0.5]])
    assert list(base64.b64decode(packed(weights_TS))) == [255, 64, 191, 51, 76, 128]


@pytest.fixture
def tokenizer(dataset) -> Tokenizer:
    return load_tokenizer(str(dataset))


def test_the_data_of_a_page(tokenizer: Tokenizer):
    model = tiny(vocab_size=300, context_length=32)
    tokens = [tokenizer.end_of_text, *tokenizer.encode("Once é")]
    data = page_data(model, tokenizer, tokens)
    assert (data["layers"], data["heads"], len(data["attention"]), len(data["attention"][0])) == (3, 2, 3, 2)
    assert [token["id"] for token in data["tokens"]] == tokens
    assert data["tokens"][0]["bits"] is None and data["tokens"][0]["text"] == "<|endoftext|>"
    seen = look(model, tokens)
    assert [token["bits"] for token in data["tokens"][1:]] == pytest.approx(seen.surprise().tolist(), abs=1e-3)
    for position, token in enumerate(data["tokens"]):
        best = int(seen.logits[position].argmax())
        assert token["candidates"][0]["text"] == token_text(tokenizer, best) == token["lens"][-1]["text"]
        assert len(token["lens"]) == 4 and len(token["candidates"]) == 5


def test_part_of_a_character_is_shown_as_bytes(tokenizer: Tokenizer):
    parts = [token_text(tokenizer, token) for token in tokenizer.encode("é")]
    assert parts == ["\\xc3", "\\xa9"] or parts == ["é"]


def test_the_split_of_a_text(tokenizer: Tokenizer):
    text = "Once é <|endoftext|>\n"
    data = split_data(tokenizer, text)
    assert [token["id"] for token in data["tokens"]] == tokenizer.encode(text)
    assert bytes.fromhex("".join(token["bytes"] for token in data["tokens"])).decode() == text
    assert (data["characters"], data["bytes"], data["vocabulary"]) == (len(text), len(text) + 1, 300)
    assert split_data(tokenizer, "") == {"tokens": [], "characters": 0, "bytes": 0, "vocabulary": 300}
