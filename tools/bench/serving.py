"""`bench serve` as one function: a server under load beside its decoder alone, in turn, and what the times say."""

import statistics
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.table import Table

from bench.conditions import Conditions, environment
from bench.machine import machine_facts
from bench.serving_worker import DECODER, SERVER, TEMPERATURES, ServingRequest
from bench.turns import Measured, take_turns
from tinytale import __version__
from tinytale.config import ModelConfig
from tinytale.console import figures_table
from tinytale.errors import TaleError


def time_serving(
    folder: str, people: int, stories: int, new_tokens: int, conditions: Conditions, progress: Callable[[str], None]
) -> dict[str, Measured]:
    """Let the decoder alone and the server tell the same stories in turn.

    `progress` is told what comes next: `2 * (1 + rounds)` times.

    Raises:
        TaleError: one of them cannot be measured.
    """
    requests = [
        ServingRequest(contender=name, folder=folder, people=people, stories=stories, new_tokens=new_tokens)
        for name in (DECODER, SERVER)
    ]
    return take_turns(requests, environment(conditions), conditions.rounds, 1, progress)


def serving_result(
    config: ModelConfig, people: int, stories: int, new_tokens: int, threads: int, measured: dict[str, Measured]
) -> dict[str, Any]:
    """The figures: medians over the rounds, ratios within each round; and what they were measured on.

    Raises:
        TaleError: the server has told other stories than the decoder.
    """
    decoder, server = measured[DECODER], measured[SERVER]
    if decoder.facts["texts"] != server.facts["texts"]:
        raise TaleError("the server has told other stories than its decoder alone; the times cannot be compared")
    parts = {}
    for place, name in enumerate(TEMPERATURES):
        alone, served = ([turn[place] for turn in one.rounds] for one in (decoder, server))
        parts[name] = {
            "decoder_tokens_per_second": 1 / statistics.median(alone),
            "server_tokens_per_second": 1 / statistics.median(served),
            "ratio": statistics.median(a / b for a, b in zip(alone, served, strict=True)),
        }
    waits = sorted(wait for turn in server.rounds for wait in turn[len(TEMPERATURES) :])
    return {
        "tinytale": __version__,
        "machine": machine_facts(),
        "model": asdict(config),
        "threads": threads,
        "people": people,
        "stories": stories,
        "new_tokens": new_tokens,
        "decoder": decoder.facts["decoder"],
        **parts,
        "first_token_seconds": {
            "newcomers": len(waits),
            "median": statistics.median(waits),
            "95%": waits[int(0.95 * (len(waits) - 1))],
            "worst": waits[-1],
        },
        "rounds": {name: one.rounds for name, one in measured.items()},
    }


def serving_table(result: dict[str, Any]) -> Table:
    """What was measured, for a person."""
    waits = result["first_token_seconds"]
    table = figures_table(
        f"{result['people']} people at once, {result['threads']} threads, {result['machine']['processor']}",
        f"of {waits['newcomers']} more who came meanwhile, the first token after {1e3 * waits['median']:.0f} ms"
        f" (median), {1e3 * waits['95%']:.0f} ms (95%), {1e3 * waits['worst']:.0f} ms (worst)",
        ("stories", "decoder alone, tokens/s", "server, tokens/s", "ratio"),
        dense=True,
    )
    for name in TEMPERATURES:
        part = result[name]
        speeds = (part["decoder_tokens_per_second"], part["server_tokens_per_second"])
        table.add_row(name, *(f"{speed:,.0f}" for speed in speeds), f"{part['ratio']:.2f}")
    return table
