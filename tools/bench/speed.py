"""The speed of one training step, of every contender in turn; and what the times say."""

import statistics
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from bench.sizes import Size
from bench.turns import Measured
from tinytale.console import figures_table
from tinytale.resources import GIBIBYTE

Rounds = list[list[float]]
"""Seconds of each step, round by round."""


def round_medians(rounds: Rounds) -> list[float]:
    """Median seconds a step, of each round."""
    return [statistics.median(seconds) for seconds in rounds]


def median_ratio(base: Rounds, other: Rounds) -> float:
    """How many times as fast as `base`: the median of the ratios of each round, since a round has the same weather."""
    pairs = zip(round_medians(base), round_medians(other), strict=True)
    return statistics.median(theirs / ours for theirs, ours in pairs)


def share_of_peak(flop_per_step: int, rounds: Rounds, peak_flop_per_step: int, peak_rounds: Rounds) -> float:
    """Useful FLOP a second as a share of what the machine's fastest product did in the same rounds."""
    return flop_per_step / peak_flop_per_step * median_ratio(peak_rounds, rounds)


@dataclass(frozen=True)
class Speed:
    """One contender's figures."""

    what: str
    median_seconds: float
    """A step."""
    fastest_seconds: float
    slowest_seconds: float
    tokens_per_second: float
    ratio: float
    """Times as fast as the first contender."""
    share_of_peak: float
    memory_bytes: int
    loss: float
    """Nats a token, before the last step of the warm-up."""
    set_up_seconds: float
    facts: dict[str, Any]
    rounds: Rounds


def speeds(
    measured: dict[str, Measured], descriptions: dict[str, str], size: Size, flop_per_token: int, peak: Measured
) -> dict[str, Speed]:
    """The figures of every contender; the first is the one that the others are held against."""
    base = next(iter(measured.values()))
    found = {}
    for name, own in measured.items():
        seconds = [second for one in own.rounds for second in one]
        median = statistics.median(round_medians(own.rounds))
        flop = flop_per_token * size.tokens_per_step
        found[name] = Speed(
            what=descriptions[name],
            median_seconds=median,
            fastest_seconds=min(seconds),
            slowest_seconds=max(seconds),
            tokens_per_second=size.tokens_per_step / median,
            ratio=median_ratio(base.rounds, own.rounds),
            share_of_peak=share_of_peak(flop, own.rounds, peak.facts["flop_per_step"], peak.rounds),
            memory_bytes=own.peak_memory,
            loss=own.facts["loss"],
            set_up_seconds=own.set_up_seconds,
            facts=own.facts,
            rounds=own.rounds,
        )
    return found


def peak_figures(peak: Measured) -> dict[str, Any]:
    """The yardstick: FLOP a second of the fastest product, and which one that is."""
    rate = peak.facts["flop_per_step"] / statistics.median(round_medians(peak.rounds))
    return {"flop_per_second": rate, **peak.facts, "rounds": peak.rounds}


def speed_table(result: dict[str, Any]) -> Table:
    """What `bench train` measured, for a person."""
    base = next(iter(result["contenders"]))
    peak = result["peak"]
    threads = f"{result['threads']} thread{'s' * (result['threads'] != 1)}"
    table = figures_table(
        f"A training step of size {result['size']['name']}, {threads}, {result['machine']['processor']}",
        f"ratio: times as fast as {base}; "
        f"peak: {peak['flop_per_second'] / 1e9:,.0f} GFLOP/s, {peak['dtype']} products of side {peak['side']}; "
        f"loss before the last of {result['warm_up']} steps of warm-up",
        ("contender", "ms a step", "(range)", "tokens/s", "ratio", "of peak", "GiB", "loss"),
        left=(0, 2),
        dense=True,
    )
    for name, found in result["contenders"].items():
        table.add_row(
            name,
            f"{1e3 * found['median_seconds']:.1f}",
            f"({1e3 * found['fastest_seconds']:.0f}–{1e3 * found['slowest_seconds']:.0f})",
            f"{found['tokens_per_second']:,.0f}",
            f"{found['ratio']:.2f}",
            f"{found['share_of_peak']:.0%}",
            f"{found['memory_bytes'] / GIBIBYTE:.2f}",
            f"{found['loss']:.4f}",
        )
    return table


def as_json(found: dict[str, Speed]) -> dict[str, Any]:
    """The figures as plain values."""
    return {name: asdict(speed) for name, speed in found.items()}
