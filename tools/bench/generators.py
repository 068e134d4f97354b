"""Who takes part in `bench generate`: a function that continues some prompts by exactly as many tokens, greedily.

All read one and the same GPT-2 folder, or what their own program converts it to, and are asked in their own best way.
"""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from tinytale.errors import TaleError
from tinytale.generation.agreement import native_decoder
from tinytale.generation.choosing import choice_for
from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Decoding
from tinytale.generation.many import generate_many
from tinytale.generation.native_decoder import Precision
from tinytale.generation.torch_decoder import TorchDecoder
from tinytale.model.folder import load_model

Continue = Callable[[Sequence[Sequence[int]], int], list[list[int]]]
"""From prompts, each of the same length, and a number to so many new tokens of each."""


@dataclass(frozen=True, kw_only=True)
class Forms:
    """The model as the programs read it; None: it has not been converted, since nobody needs it."""

    folder: str
    """Hugging Face's layout."""
    ctranslate2: str | None = None
    gguf: str | None = None
    """In Q8_0."""


@dataclass(frozen=True)
class Generator:
    """A program in one set-up."""

    what: str
    """In a few words."""
    build: Callable[[Forms, int, int], Continue]
    """Makes it, from the model, the number of prompts and the number of threads."""
    package: str | None = None
    """What must be installed."""
    bytes_per_weight: float = 4.0
    """Of a matrix, as it is read from memory."""
    most_prompts: int | None = None

    def why_not(self, prompts: int) -> str | None:
        """Why it cannot take part; None if it can."""
        if self.package and not importlib.util.find_spec(self.package):
            return f"{self.package} is not installed"
        if self.most_prompts is not None and prompts > self.most_prompts:
            return f"it continues at most {self.most_prompts} at a time"
        return None


def transformers(forms: Forms, _prompts: int, _threads: int, dtype: torch.dtype) -> Continue:
    """GPT2LMHeadModel.generate, with its cache."""
    from transformers import GPT2LMHeadModel

    model: Any = GPT2LMHeadModel.from_pretrained(forms.folder, dtype=dtype).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0

    @torch.inference_mode()
    def go_on(prompts: Sequence[Sequence[int]], new: int) -> list[list[int]]:
        tokens_BT = torch.tensor(prompts)
        seen_BT = torch.ones_like(tokens_BT)
        told_BT = model.generate(tokens_BT, attention_mask=seen_BT, max_new_tokens=new, do_sample=False)
        return told_BT[:, tokens_BT.shape[1] :].tolist()

    return go_on


def ctranslate2(forms: Forms, _prompts: int, threads: int, compute_type: str) -> Continue:
    """Its Generator, on the model that its own converter has written."""
    import ctranslate2 as program  # pyright: ignore[reportMissingImports]
    from tokenizers import Tokenizer

    assert forms.ctranslate2
    model = program.Generator(forms.ctranslate2, compute_type=compute_type, inter_threads=1, intra_threads=threads)
    tokenizer = Tokenizer.from_file(str(Path(forms.folder) / "tokenizer.json"))

    def go_on(prompts: Sequence[Sequence[int]], new: int) -> list[list[int]]:
        texts = [[tokenizer.id_to_token(token) or "" for token in prompt] for prompt in prompts]
        lengths: dict[str, Any] = {"min_length": new, "max_length": new, "include_prompt_in_result": False}
        return [result.sequences_ids[0] for result in model.generate_batch(texts, **lengths)]

    return go_on


def llama_cpp(forms: Forms, _prompts: int, threads: int) -> Continue:
    """llama-cpp-python's Llama, token by token."""
    from llama_cpp import Llama  # pyright: ignore[reportMissingImports]

    assert forms.gguf
    model = Llama(forms.gguf, n_ctx=0, n_threads=threads, n_threads_batch=threads, verbose=False)

    def go_on(prompts: Sequence[Sequence[int]], new: int) -> list[list[int]]:
        told = model.generate(list(prompts[0]), temp=0.0, repeat_penalty=1.0, reset=True)
        return [list(islice(told, new))]  # and not one token more, which it would have to compute

    return go_on


def ours(decoder: Callable[[Forms, int, int], Decoder]) -> Callable[[Forms, int, int], Continue]:
    """A decoder of ours and what `tinytale generate` does with it."""

    def build(forms: Forms, prompts: int, threads: int) -> Continue:
        computes, choose = decoder(forms, prompts, threads), choice_for(Decoding(greedy=True))

        def go_on(prompts: Sequence[Sequence[int]], new: int) -> list[list[int]]:
            return generate_many(computes, prompts, choose, [iter(())] * len(prompts), new, end_of_text=-1)

        return go_on

    return build


def native(precision: Precision) -> Callable[[Forms, int, int], Continue]:
    """Our native decoder.

    Raises:
        TaleError: it cannot be had here.
    """

    def decoder(forms: Forms, prompts: int, threads: int) -> Decoder:
        model = load_model(Path(forms.folder))
        made = native_decoder(model, prompts, precision, threads)
        if isinstance(made, str):
            raise TaleError(made)
        return made

    return ours(decoder)


def in_torch(forms: Forms, prompts: int, _threads: int) -> Decoder:
    """Our reference."""
    return TorchDecoder(load_model(Path(forms.folder)), prompts)


GENERATORS = {
    "transformers": Generator(
        "transformers, float32", lambda *of: transformers(*of, dtype=torch.float32), "transformers"
    ),
    "transformers-bfloat16": Generator(
        "transformers, bfloat16", lambda *of: transformers(*of, dtype=torch.bfloat16), "transformers", 2.0
    ),
    "ctranslate2-float32": Generator(
        "CTranslate2, float32", lambda *of: ctranslate2(*of, compute_type="float32"), "ctranslate2"
    ),
    "ctranslate2-int8": Generator(
        "CTranslate2, int8", lambda *of: ctranslate2(*of, compute_type="int8"), "ctranslate2", 1.0
    ),
    "llama-cpp": Generator("llama.cpp, Q8_0", llama_cpp, "llama_cpp", 34 / 32, most_prompts=1),
    "tinytale-torch": Generator("tinytale, in torch, float32", ours(in_torch)),
    "tinytale-float32": Generator("tinytale, native, float32", native("float32")),
    "tinytale-bfloat16": Generator("tinytale, native, bfloat16", native("bfloat16"), bytes_per_weight=2.0),
    "tinytale": Generator("tinytale, native, int8", native("int8"), bytes_per_weight=1.0),
}
"""By the names that a person types."""
