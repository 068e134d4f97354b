"""`tinytale generate`: the model tells a story."""

import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import tinytale
from tinytale.advice import command
from tinytale.commands.options import Device, print_json
from tinytale.config import TEMPERATURE, DecoderKind, Precision
from tinytale.console import console, write_out
from tinytale.errors import UsageError


def generate(
    folder: str,
    prompt: str = "",
    *,
    samples: int = 1,
    max_new_tokens: int = 400,
    greedy: bool = False,
    temperature: float = TEMPERATURE,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    beams: int | None = None,
    stop: list[str] | None = None,
    seed: int = 0,
    batch_size: int = 32,
    device: Device = "auto",
    precision: Precision = "auto",
    decoder: DecoderKind = "auto",
    json: bool = False,
) -> None:
    """Tell a story, or continue one.

    The text appears as it is made, and ends where the model ends it.

    Parameters
    ----------
    folder: str
        A run, a GPT-2 folder in Hugging Face's layout, or the name of shipped weights.
    prompt: str
        How the story begins. Default: the model begins by itself.
    samples: int
        How many stories.
    max_new_tokens: int
        Longest continuation, in tokens.
    greedy: bool
        Always take the most likely token.
    temperature: float
        Below 1 plays safe, above 1 dares more.
    top_k: int
        Draw from this many most likely tokens.
    top_p: float
        Draw from the fewest tokens that reach this probability together.
    min_p: float
        Draw from the tokens that have this share of the probability of the most likely one.
    repetition_penalty: float
        Above 1, tokens that the text has already become less likely.
    beams: int
        Search for the most likely story with so many beams, instead of drawing; it appears when it is found.
    stop: list[str]
        Text that ends a story and is not part of it; may be given several times.
    seed: int
        The same seed tells the same stories.
    batch_size: int
        How many stories are told at once with --json; the stories do not depend on it.
    device: str
        Where to compute.
    precision: str
        Of the weights, on a CPU: int8, the fastest, is what auto takes; float32 is exact.
    decoder: str
        auto takes the native decoder where it runs and agrees with the model; torch is the reference, and slower.
    json: bool
        Print one JSON object when all stories are told.
    """
    if samples < 1 or max_new_tokens < 1:
        raise UsageError(f"samples is {samples} and max-new-tokens {max_new_tokens}; expected at least 1 of each")
    if not prompt and " " in folder and not Path(folder).exists():
        typed = command("generate", "small", folder)
        raise UsageError(
            f"there is no folder {folder!r}; the first argument is the model, the second the prompt: {typed}"
        )
    settings: dict[str, Any] = {
        "greedy": greedy,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "stop": stop or [],
        "seed": seed,
    }
    teller = tinytale.load(folder, device, precision, decoder)
    length, context = len(teller.tokenizer.encode(prompt)) + 1, teller.model.config.context_length
    if length > context:
        console.print(f"The prompt has {length} tokens; the model reads its last {context}.", style="yellow")

    if json or beams is not None:
        settings |= {"max_new_tokens": max_new_tokens, "beams": beams}
        told = teller.generate(prompt, samples=samples, batch_size=batch_size, **settings)
        if json:
            print_json(
                {
                    "prompt": prompt,
                    "settings": {**settings, "precision": precision},
                    "stories": [story.text for story in told],
                }
            )
        else:
            show([str(told[0])])
        return
    tokens, started, made = 0, time.perf_counter(), teller.decoder(1)

    def count(new: int) -> None:
        nonlocal tokens
        tokens += new

    for sample in range(samples):
        pieces = teller.stream(
            prompt, max_new_tokens=max_new_tokens, sample=sample, decoder=made, advance=count, **settings
        )
        show(chain(["\n" if sample else "", prompt], pieces))
    if console.is_terminal:
        console.print(f"{tokens / (time.perf_counter() - started):,.0f} tokens/s", style="dim")


def show(pieces: Iterable[str]) -> None:
    """Write text to standard output as it comes, and a line's end after it."""
    for piece in pieces:
        write_out(piece)
    write_out("\n")
