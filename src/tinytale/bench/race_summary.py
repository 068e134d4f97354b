"""What a race has shown: tokens and seconds to nanoGPT's best dev loss, and how many times fewer ours are."""

from dataclasses import asdict
from typing import Any

from rich.table import Table

from tinytale.bench.race import crossing, target_loss
from tinytale.bench.race_runs import Course, Finished, Who
from tinytale.console import figures_table
from tinytale.errors import TaleError

TIMED: dict[Who, str] = {"nanogpt": "nanogpt", "tinytale": "tinytale", "control": "tinytale-native"}
"""The contender of `bench train` whose step counts as a run's step, whatever the number format of the runs: nanoGPT's
as it comes, ours compiled. Compiling is not in the seconds, and a run too short for it would be eager by default."""


def summarise(finished: list[Finished], course: Course, tokens: int, times: dict[str, Any] | None) -> dict[str, Any]:
    """Every run with its crossing of the target, and the headline of each participant.

    `tokens` is nanoGPT's whole budget; `times` is what `bench train` measured of the contenders in `TIMED`, if it has.
    Seconds are steps times the median step.

    Raises:
        TaleError: nanoGPT's runs on the whole budget are not there.
    """
    target = target_loss(finished, tokens)
    if target is None:
        raise TaleError(f"nanoGPT has no run on {tokens:,} tokens yet, so there is no target; --only nanogpt does it")
    per_step = course.size.tokens_per_step
    step = {who: times["contenders"][name]["median_seconds"] for who, name in TIMED.items()} if times else {}

    def seconds(who: Who, count: float | None) -> float | None:
        return count / per_step * step[who] if step and count is not None else None

    runs = []
    for one in sorted(finished, key=lambda one: (one.run.who, one.run.tokens, one.loss)):
        reached = crossing(one.curve, target)
        costs = {"tokens_to_target": reached, "seconds_to_target": seconds(one.run.who, reached)}
        runs.append({**asdict(one.run), "loss": one.loss, **costs, "curve": one.curve})
    full = [one for one in finished if one.run.who == "nanogpt" and one.run.tokens == tokens]
    peer = min(reached for reached in (crossing(one.curve, target) for one in full) if reached is not None)
    found: dict[str, Any] = {}
    for who in TIMED:
        count = peer if who == "nanogpt" else earliest([one for one in finished if one.run.who == who], target)
        own, theirs = seconds(who, count), seconds("nanogpt", peer)
        found[who] = {
            "tokens_to_target": count,
            "seconds_to_target": own,
            "times_fewer_tokens": peer / count if count else None,
            "times_less_time": theirs / own if own and theirs else None,
        }
    return {
        "target_loss": target,
        "course": asdict(course),
        "step_seconds": step or None,
        "participants": found,
        "runs": runs,
    }


def earliest(finished: list[Finished], target: float) -> float | None:
    """Tokens to the target on the best budget, by its slowest seed; a budget that a seed misses does not count.

    A budget that was run with more seeds says more than one with fewer: only those with the most seeds, of the ones
    that reach the target at all, are compared.
    """
    budgets: dict[tuple, list[float | None]] = {}
    for one in finished:
        settings = (one.run.tokens, one.run.rate, one.run.embedding_rate)
        budgets.setdefault(settings, []).append(crossing(one.curve, target))
    reached = [(len(found), max(found)) for found in map(complete, budgets.values()) if found]
    most = max((seeds for seeds, _ in reached), default=0)
    return min((tokens for seeds, tokens in reached if seeds == most), default=None)


def complete(found: list[float | None]) -> list[float] | None:
    """The crossings of all seeds, or None if one has none."""
    reached = [tokens for tokens in found if tokens is not None]
    return reached if len(reached) == len(found) else None


def race_table(summary: dict[str, Any]) -> Table:
    """Every run, and below each participant's last one its headline."""
    table = figures_table(
        f"Race to nanoGPT's best dev loss, {summary['target_loss']:.4f} nats a token",
        headline(summary),
        ("run", "rate", "embedding", "tokens", "seed", "loss", "tokens to it", "seconds"),
        dense=True,
    )
    for run in summary["runs"]:
        table.add_row(
            run["who"],
            *(f"{rate:g}" if rate else "" for rate in (run["rate"], run["embedding_rate"])),
            f"{run['tokens']:,}",
            str(run["seed"]),
            f"{run['loss']:.4f}",
            _or_nothing(run["tokens_to_target"]),
            _or_nothing(run["seconds_to_target"]),
        )
    return table


def headline(summary: dict[str, Any]) -> str:
    """How much less the others need."""
    lines = []
    for who, found in summary["participants"].items():
        if who == "nanogpt":
            continue
        if found["tokens_to_target"] is None:
            lines.append(f"{who} has not reached it")
            continue
        time = f", {found['times_less_time']:.2f} times less time" if found["times_less_time"] else ""
        lines.append(f"{who}: {found['times_fewer_tokens']:.2f} times fewer tokens{time}")
    return "\n".join(lines)


def _or_nothing(value: float | None) -> str:
    return f"{value:,.0f}" if value is not None else "-"
