"""`bench generate` as one function: every contender in turn, and what the times say."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from bench.conditions import Conditions, environment
from bench.generation_worker import MEMORY, GenerationRequest
from bench.generators import GENERATORS, Forms
from bench.machine import machine_facts
from bench.turns import Measured, chosen, take_turns
from tinytale import __version__
from tinytale.config import ModelConfig
from tinytale.console import figures_table
from tinytale.resources import GIBIBYTE


def chosen_generators(listed: str | None) -> list[str]:
    """The contenders of a list with commas; all of them without one.

    Raises:
        UsageError: one is unknown or named twice.
    """
    return chosen(listed, GENERATORS)


def matrix_weights(config: ModelConfig) -> int:
    """Weights that every new token is multiplied with: the blocks' matrices and the output layer."""
    return 12 * config.layers * config.width**2 + config.vocab_size * config.width


@dataclass(frozen=True)
class Generation:
    """One contender's figures."""

    what: str
    tokens_per_second: float
    """New tokens of all prompts: the median of the rounds."""
    first_token_seconds: float
    """From the prompts to one new token of each: the median of the rounds."""
    ratio: float
    """Times as fast as the first contender: the median of the ratios of each round."""
    share_of_bandwidth: float
    """Of what this machine reads a second, what reading every weight once for each new token of a text takes."""
    memory_bytes: int
    agreeing_tokens: int
    """How many tokens of its first text are those of the first contender, from the first on."""
    set_up_seconds: float
    facts: dict[str, Any]
    rounds: list[list[float]]
    """Seconds to one new token of each prompt, and to all, by turns."""


def generations(
    measured: dict[str, Measured], prompts: int, new_tokens: int, weights: int, memory: Measured
) -> dict[str, Generation]:
    """The figures of every contender; the first is the one that the others are held against."""
    base = next(iter(measured.values()))
    found = {}
    for name, own in measured.items():
        whole = [turn[1] for turn in own.rounds]
        texts = zip(base.facts["tokens"], own.facts["tokens"], strict=True)
        bandwidths = [memory.facts["bytes"] / turn[0] for turn in memory.rounds]
        read = weights * GENERATORS[name].bytes_per_weight * new_tokens
        found[name] = Generation(
            what=GENERATORS[name].what,
            tokens_per_second=prompts * new_tokens / statistics.median(whole),
            first_token_seconds=statistics.median(turn[0] for turn in own.rounds),
            ratio=statistics.median(a[1] / b for a, b in zip(base.rounds, whole, strict=True)),
            share_of_bandwidth=statistics.median(
                read / taken / bandwidth for taken, bandwidth in zip(whole, bandwidths, strict=True)
            ),
            memory_bytes=own.peak_memory,
            agreeing_tokens=next((place for place, (a, b) in enumerate(texts) if a != b), new_tokens),
            set_up_seconds=own.set_up_seconds,
            facts={key: value for key, value in own.facts.items() if key != "tokens"},
            rounds=own.rounds,
        )
    return found


def time_generation(
    forms: Forms,
    config: ModelConfig,
    names: Sequence[str],
    prompts: list[list[int]],
    new_tokens: int,
    conditions: Conditions,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Measure contenders in turn, with one number of prompts and of threads.

    `progress` is told what comes next, at most `(1 + len(names)) * (1 + rounds)` times. Contenders that cannot take
    part are left out.

    Raises:
        TaleError: a contender cannot be measured.
    """
    left_out = {name: reason for name in names if (reason := GENERATORS[name].why_not(len(prompts)))}
    requests = [
        GenerationRequest(
            contender=name, forms=forms, prompts=prompts, new_tokens=new_tokens, threads=conditions.threads
        )
        for name in [*names, MEMORY]
        if name not in left_out
    ]
    measured = take_turns(requests, environment(conditions), conditions.rounds, 1, progress)
    memory = measured.pop(MEMORY)
    found = generations(measured, len(prompts), new_tokens, matrix_weights(config), memory)
    return {
        "threads": conditions.threads,
        "prompts": len(prompts),
        "bytes_per_second": memory.facts["bytes"] / statistics.median(turn[0] for turn in memory.rounds),
        "left_out": left_out,
        "contenders": {name: asdict(own) for name, own in found.items()},
    }


def generation_result(config: ModelConfig, prompt_length: int, new_tokens: int, parts: list[dict]) -> dict[str, Any]:
    """All parts, each with its number of prompts and of threads, and what they were measured on."""
    return {
        "tinytale": __version__,
        "machine": machine_facts(),
        "model": asdict(config),
        "prompt_tokens": prompt_length,
        "new_tokens": new_tokens,
        "parts": parts,
    }


def generation_table(result: dict[str, Any], part: dict[str, Any]) -> Table:
    """What a part measured, for a person."""
    base = next(iter(part["contenders"]))
    threads = f"{part['threads']} thread{'s' * (part['threads'] != 1)}"
    prompts = f"{part['prompts']} prompt{'s' * (part['prompts'] != 1)} of {result['prompt_tokens']} tokens"
    table = figures_table(
        f"{prompts} + {result['new_tokens']} new, {threads}, {result['machine']['processor']}",
        f"first: to the first new token; ratio: times as fast as {base}; bandwidth: reading the weights, of "
        f"{part['bytes_per_second'] / 1e9:.1f} GB/s; same: first tokens that are {base}'s",
        ("contender", "new tokens/s", "first ms", "ratio", "bandwidth", "GiB", "same"),
        dense=True,
    )
    for name, found in part["contenders"].items():
        table.add_row(
            name,
            f"{found['tokens_per_second']:,.0f}",
            f"{1e3 * found['first_token_seconds']:.1f}",
            f"{found['ratio']:.2f}",
            f"{found['share_of_bandwidth']:.0%}",
            f"{found['memory_bytes'] / GIBIBYTE:.2f}",
            f"{found['agreeing_tokens']}",
        )
    for name, reason in part["left_out"].items():
        table.add_row(name, reason, style="dim")
    return table
