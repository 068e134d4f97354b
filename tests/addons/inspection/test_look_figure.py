from io import BytesIO

import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from tinytale.addons.inspection.figure import COLUMNS, draw_candidates, draw_lens, look_figure, text_lines, unpacked
from tinytale.addons.inspection.look import look
from tinytale.addons.inspection.page_data import page_data
from tinytale.config import ModelConfig
from tinytale.data.tokenizer import Tokenizer, load_tokenizer
from tinytale.model.gpt2 import GPT2

TEXT = "One $day$, a <b>fox</b>\nsaw 你好 é. " * 3


@pytest.fixture(scope="module")
def model() -> GPT2:
    torch.manual_seed(0)
    return GPT2(ModelConfig(vocab_size=300, context_length=160, layers=2, heads=2, width=8), "textbook")


@pytest.fixture
def tokens(dataset) -> list[int]:
    tokenizer = load_tokenizer(dataset)
    return [tokenizer.end_of_text, *tokenizer.encode(TEXT)]


@pytest.fixture
def data(model: GPT2, dataset, tokens: list[int]) -> dict:
    tokenizer: Tokenizer = load_tokenizer(dataset)
    return page_data(model, tokenizer, tokens)


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_look_is_drawn_and_the_same_look_alike(data: dict):
    png = look_figure(data, "Look $inside", "a_b^{c")
    picture = matplotlib.image.imread(BytesIO(png))
    assert picture.shape[1] == 2000 and picture.std() > 0.05
    assert png == look_figure(data, "Look $inside", "a_b^{c") and png != look_figure(data, "other", "")


def test_a_text_of_one_token_is_drawn(model: GPT2, dataset):
    tokenizer = load_tokenizer(dataset)
    assert look_figure(page_data(model, tokenizer, [tokenizer.end_of_text]), "Nothing")


def test_the_lines_hold_every_token_once_and_end_where_the_text_does(data: dict):
    lines = text_lines(data["tokens"], 3.0)
    assert [token for line in lines for *_, token in line] == data["tokens"] and len(lines) > 4
    assert all(x + wide <= 3.0 for line in lines for x, wide, _ in line)
    ends = [line[-1][2]["text"] for line in lines]
    assert sum("\n" in end for end in ends) == TEXT.count("\n")


def test_candidates_and_lens_say_what_the_data_say(data: dict):
    axes = Figure().add_subplot()
    draw_candidates(axes, data["tokens"], 3)
    assert [bar.get_width() for bar in axes.patches] == [g["probability"] for g in data["tokens"][2]["candidates"]]
    axes = Figure().add_subplot()
    draw_lens(axes, data["tokens"])
    assert len(texts(axes)) == COLUMNS * 3
    shares = axes.images[0].get_array()
    assert shares is not None
    assert shares[:, -1].tolist() == [guess["probability"] for guess in data["tokens"][-1]["lens"]]


def test_attention_is_unpacked(model: GPT2, data: dict, tokens: list[int]):
    seen = look(model, tokens).attention_LHTS[1, 0].numpy()
    np.testing.assert_allclose(unpacked(data["attention"][1][0]), seen, atol=1 / 255)
