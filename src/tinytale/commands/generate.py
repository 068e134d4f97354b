"""`tinytale generate`: the model tells a story."""

import sys
import time

from tinytale.commands.options import Device, load_weights, print_json
from tinytale.console import console
from tinytale.errors import UsageError
from tinytale.runs import find_folder, model_folder


def generate(
    folder: str,
    prompt: str = "",
    *,
    samples: int = 1,
    max_new_tokens: int = 400,
    greedy: bool = False,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    device: Device = "auto",
    json: bool = False,
) -> None:
    """Tell a story, or continue one: text appears as it is made, and ends where the model ends it.

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
    seed: int
        The same seed tells the same stories.
    device: str
        Where to compute.
    json: bool
        Print one JSON object when all stories are told.
    """
    if samples < 1 or max_new_tokens < 1:
        raise UsageError(f"samples is {samples} and max-new-tokens {max_new_tokens}; expected at least 1 of each")
    weights = model_folder(find_folder(folder))

    from tinytale.data.tokenizer import StreamDecoder
    from tinytale.generation.decoding import Decoding, sample_seed
    from tinytale.generation.decoding import generate as generate_tokens

    choose = Decoding(greedy=greedy, temperature=temperature, top_k=top_k, top_p=top_p).choice()
    model, tokenizer = load_weights(weights, device)
    ids = [tokenizer.end_of_text, *tokenizer.encode(prompt)]
    if len(ids) > model.config.context_length:
        console.print(
            f"The prompt has {len(ids)} tokens; the model reads its last {model.config.context_length}.", style="yellow"
        )

    stories = []
    tokens, started = 0, time.perf_counter()
    for sample in range(samples):
        decoder, pieces = StreamDecoder(tokenizer), []
        if not json:
            sys.stdout.write(("\n" if sample else "") + prompt)
        for token in generate_tokens(
            model, ids, choose, sample_seed(seed, sample), max_new_tokens, tokenizer.end_of_text
        ):
            tokens += 1
            pieces.append(decoder.feed(token))
            if not json:
                sys.stdout.write(pieces[-1])
                sys.stdout.flush()
        pieces.append(decoder.finish())
        stories.append("".join(pieces))
        if not json:
            sys.stdout.write(pieces[-1] + "\n")
            sys.stdout.flush()
    if json:
        settings = {"greedy": greedy, "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
        print_json({"prompt": prompt, "settings": settings, "stories": stories})
    elif console.is_terminal:
        console.print(f"{tokens / (time.perf_counter() - started):,.0f} tokens/s", style="dim")
