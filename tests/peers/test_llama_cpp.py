"""The shipped weights as GGUF in llama.cpp: the same tokens, and all but the same next-token probabilities.

Needs `pip install llama-cpp-python`, which compiles for twenty minutes; stories of TINYSTORIES where it is set:

    python3 run.py test --peers tests/peers/test_llama_cpp.py -s
"""

import os
from itertools import islice
from pathlib import Path

import pytest
import torch

from tinytale.data.builtin import story
from tinytale.data.stories import open_source, stories_of
from tinytale.data.tokenizer import load_tokenizer
from tinytale.interop.gguf_file import write_gguf
from tinytale.model.folder import load_model
from tinytale.runs import shipped_weights

STORIES = 300

ODD = [
    "", " ", "  two  spaces", "\n", "\n\n\n", "a\n\n b", "\t\ttabs", "\r\n", "it's I'LL don’t we'd 's''s", "naïve café",
    "e\u0301 \u0301",
    "ﬁ ß İ", "中文字", "日本語のテキスト", "Привет мир", "שלום", "مرحبا ١٢٣", "Ⅷ ½ ²", "1234567890 12,5",
    "👩‍👩‍👧 🍰🍰", "a\u00a0b \u3000c\u2028d", "\u200b\u200d", "\x00\x07", "!?…—“”", "<|endoftext|>", "< |endoftext| >",
    "x" * 500, " " * 100, "ab" * 300, "\\n \\u1234", "#@$%^&*()[]{}", "tail ",
]  # fmt: skip


def texts() -> list[str]:
    folder = os.environ.get("TINYSTORIES")
    if not folder:
        return [story(5, index) for index in range(STORIES)]
    return list(islice(stories_of(open_source(str(Path(folder) / "valid.txt")).train), STORIES))


@pytest.mark.peers
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_llama_cpp_reads_the_same_tokens_and_tells_the_same(stored: str, tmp_path: Path, capsys):
    llama_cpp = pytest.importorskip("llama_cpp", reason="the peer is not installed: pip install llama-cpp-python")
    folder = shipped_weights()["small"] / "model"
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    write_gguf(tmp_path / "small.gguf", model, tokenizer, "small", stored)
    context = model.config.context_length
    peer = llama_cpp.Llama(str(tmp_path / "small.gguf"), n_ctx=context, n_batch=context, logits_all=True, verbose=False)

    def tokens_of(text: str, **options: bool) -> list[int]:
        return peer.tokenize(text.encode(), special=False, **options)

    stories = texts()
    for text in [*stories, *ODD]:
        assert tokens_of(text, add_bos=False) == tokenizer.encode(text), text
    assert tokens_of("Once", add_bos=True) == [tokenizer.end_of_text, *tokenizer.encode("Once")]

    places = same = 0
    divergence = 0.0
    for text in stories:
        ids = [tokenizer.end_of_text, *tokenizer.encode(text)][:context]
        peer.reset()
        peer.eval(ids)
        with torch.no_grad():
            ours_TV = model(torch.tensor([ids]))[0].double().log_softmax(-1)
        theirs_TV = torch.tensor(peer.scores[: len(ids)]).double().log_softmax(-1)
        places += len(ids)
        same += int((ours_TV.argmax(-1) == theirs_TV.argmax(-1)).sum())
        divergence += float((ours_TV.exp() * (ours_TV - theirs_TV)).sum())
    with capsys.disabled():
        print(
            f"\n{stored}: the same best token in {same / places:.4%} of {places:,} places, KL {divergence / places:.2g}"
        )
    assert divergence / places < 1e-4
    if stored == "float32":  # with bfloat16 weights llama.cpp rounds the activations too, and the best two may change
        assert same / places >= 0.999
