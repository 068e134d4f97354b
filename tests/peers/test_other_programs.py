"""The shipped weights in the programs that people use: each tells what we tell, and is as surprised as we are.

python3 run.py test --peers tests/peers/test_other_programs.py
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import torch

from tinytale.addons.builtin.stories import story
from tinytale.addons.interop.gguf_file import write_gguf
from tinytale.runs import shipped_weights
from tinytale.storyteller import Storyteller, load_storyteller

pytestmark = pytest.mark.peers

NEW = 30
PROMPTS = ["One day,", "Once upon a time, there was a little fox who could not sleep", "The end of the"]
"""Of different lengths, so that together they are padded."""

ODD = [
    "", " ", "  two  spaces", "\n", "\n\n\n", "a\n\n b", "\t\ttabs", "\r\n", "it's I'LL don’t we'd 's''s", "naïve café",
    "e\u0301 \u0301", "ﬁ ß İ", "中文字", "日本語のテキスト", "Привет мир", "שלום", "مرحبا ١٢٣", "Ⅷ ½ ²",
    "1234567890 12,5", "👩‍👩‍👧 🍰🍰", "a\u00a0b \u3000c\u2028d", "\u200b\u200d", "\x07", "!?…—“”",
    "<|endoftext|>", "< |endoftext| >", "x" * 500, " " * 100, "ab" * 300, "\\n \\u1234", "#@$%^&*()[]{}", "tail ",
]  # fmt: skip


@dataclass(frozen=True)
class Small:
    """The shipped weights, and what we make of them."""

    folder: Path
    teller: Storyteller

    @cached_property
    def stories(self) -> list[str]:
        """Stories that fit into the context."""
        candidates = [story(5, index) for index in range(60)]
        return [text for text in candidates if len(self.ids(text)) <= self.teller.model.config.context_length][:20]

    @cached_property
    def told(self) -> list[str]:
        return [told.prompt + told.text for told in self.teller.generate(PROMPTS, greedy=True, max_new_tokens=NEW)]

    def ids(self, text: str) -> list[int]:
        return [self.teller.tokenizer.end_of_text, *self.teller.tokenizer.encode(text)]

    @torch.no_grad()
    def logits(self, ids: list[int]) -> torch.Tensor:
        return self.teller.model(torch.tensor([ids]))[0].double()

    @cached_property
    def nats(self) -> list[float]:
        """Of every story, without the token that closes it, which most programs leave out."""
        found = []
        for ids in map(self.ids, self.stories):
            logits_TV = self.logits(ids)[:-1].log_softmax(-1)
            found.append(-logits_TV[range(len(ids) - 1), ids[1:]].sum().item())
        return found


@pytest.fixture(scope="session")
def small() -> Small:
    folder = shipped_weights()["small"] / "model"
    return Small(folder, load_storyteller(folder, "cpu", precision="float32"))


@pytest.fixture(scope="session")
def onnx(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import jaxtyping

    from tinytale.addons.interop.onnx_folder import write_onnx_folder

    folder = tmp_path_factory.mktemp("onnx") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # while it is exported, sizes are symbols
        write_onnx_folder(folder, small.teller.model, small.teller.tokenizer)
    return folder


@pytest.mark.parametrize("version", ["4", "5"])
def test_transformers(version: str, ask: Callable, small: Small):
    card = (small.folder / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert code
    found = ask(
        f"transformers {version}",
        "transformers_told.py",
        folder=small.folder,
        card_folder=small.folder.parent.parent,
        card_code=code[1],
        prompts=PROMPTS,
        stories=small.stories,
        new_tokens=NEW,
    )
    assert found["version"].startswith(version)
    printed = small.teller.score(found["card"].strip())
    assert len(found["card"].split()) > 20 and sum(-t.log_probability for t in printed.tokens) / len(printed.tokens) < 2
    assert found["alone"] == found["together"] == found["piped"] == small.told and found["chat"] == small.told[0]
    assert found["nats"] == pytest.approx(small.nats, abs=1e-3)
    targets = sum(len(small.ids(text)) - 1 for text in small.stories)
    assert found["trainer_loss"] == pytest.approx(sum(small.nats) / targets, abs=1e-4)


def test_transformers_js(ask: Callable, small: Small, onnx: Path):
    """In float32 as in torch; in 8 bits, which a browser loads by default, at least alike alone and together."""
    found = ask("transformers.js", "transformers_js_told.mjs", onnx=onnx, prompts=PROMPTS, new_tokens=NEW)
    exact, rounded = found["fp32"], found["q8"]
    assert exact["alone"] == exact["together"] == small.told and exact["chat"] == small.told[0]
    for text in rounded["alone"]:
        assert small.teller.score(text).bits_per_byte < 1


def test_optimum(ask: Callable, small: Small, onnx: Path):
    found = ask("optimum", "optimum_told.py", onnx=onnx, prompts=PROMPTS, new_tokens=NEW)
    assert found["alone"] == found["together"] == small.told


def test_mlx_lm(ask: Callable, small: Small, tale: Callable, tmp_path: Path):
    """In float32: it computes in the format that the weights are stored in."""
    assert tale("export", "small", "--to=huggingface", "--dtype=float32", "--out", tmp_path / "whole").code == 0
    found = ask("mlx-lm", "mlx_lm_told.py", folder=tmp_path / "whole", prompts=PROMPTS, new_tokens=NEW)
    answers = [told.removeprefix(prompt).removeprefix(" ") for told, prompt in zip(small.told, PROMPTS, strict=True)]
    assert found["alone"] == answers and found["chat"] == answers[0]


ROUNDING = {"float32": 0.05, "bfloat16": 0.2}
"""llama.cpp looks GELU up in a table of 16-bit numbers, and with bfloat16 weights it rounds the activations too."""


@pytest.mark.parametrize("stored", ROUNDING)
def test_llama_cpp(stored: str, ask: Callable, small: Small, tmp_path: Path):
    """The same tokens of any text, nearly the same log-probabilities, the same stories; a chat is one story."""
    write_gguf(tmp_path / "small.gguf", small.teller.model, small.teller.tokenizer, "small", stored)
    texts = [*small.stories, *ODD]
    beginnings = [small.ids(text)[: 5 * place + 1] for place, text in enumerate(small.stories)]
    found = ask(
        "llama.cpp",
        "llama_cpp_told.py",
        gguf=tmp_path / "small.gguf",
        context=small.teller.model.config.context_length,
        texts=texts,
        beginnings=beginnings,
        prompts=PROMPTS,
        new_tokens=NEW,
    )
    for text, tokens in zip(texts, found["tokens"], strict=True):
        assert tokens == small.teller.tokenizer.encode(text), text
    assert found["opened"] == small.ids("Once") and found["chat_tokens"] == len(small.ids(PROMPTS[0]))
    for ids, likeliest in zip(beginnings, found["next"], strict=True):
        ours_V = small.logits(ids)[-1].log_softmax(-1)
        for token, log_probability in likeliest.items():
            assert log_probability == pytest.approx(ours_V[int(token)].item(), abs=ROUNDING[stored])
    if stored == "float32":
        assert found["alone"] == small.told and found["chat"] == small.told[0]


def test_ctranslate2(ask: Callable, small: Small):
    found = ask(
        "ctranslate2",
        "ctranslate2_told.py",
        folder=small.folder,
        prompts=PROMPTS,
        stories=small.stories,
        new_tokens=NEW,
    )
    assert found["nats"] == pytest.approx(small.nats, abs=1e-3)
    assert [prompt + told for prompt, told in zip(PROMPTS, found["told"], strict=True)] == small.told


def test_lm_eval(ask: Callable, small: Small):
    """`<|endoftext|>` opens every story there too, since it is the token to begin with."""
    found = ask("lm-eval", "lm_eval_told.py", folder=small.folder, stories=small.stories)
    ours = sum(small.nats) / math.log(2) / sum(len(text.encode()) for text in small.stories)
    assert found["bits_per_byte"] == pytest.approx(ours, rel=1e-6)


def test_transformer_lens(ask: Callable, small: Small):
    ids = [small.ids(text) for text in small.stories]
    found = ask("transformer-lens", "transformer_lens_told.py", folder=small.folder, ids=ids)
    assert found["nats"] == pytest.approx(small.nats, abs=1e-3)


def test_peft_there_and_back(ask: Callable, small: Small, tale: Callable, tmp_path: Path):
    ids = small.ids(PROMPTS[1])
    tuned = tmp_path / "tuned"
    found = ask("peft", "peft_trained.py", folder=small.folder, stories=small.stories, ids=ids, out=tuned)
    assert found["losses"][-1] < found["losses"][0]
    assert tale("import", tuned, "--out", tmp_path / "back").code == 0
    back = load_storyteller(tmp_path / "back", "cpu", precision="float32")
    with torch.no_grad():
        logits_V = back.model(torch.tensor([ids]))[0, -1]
    torch.testing.assert_close(logits_V, torch.tensor(found["logits"]), atol=1e-4, rtol=0)
    assert (logits_V - small.logits(ids)[-1]).abs().max() > 0.1
