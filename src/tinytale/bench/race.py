"""Which runs a race consists of, and in which order: each part is a plan that asks for one run after another."""

from collections.abc import Callable
from dataclasses import dataclass

from tinytale.bench.race_runs import Curve, Finished, Run
from tinytale.errors import UsageError

Do = Callable[[Run], Finished]


@dataclass(frozen=True, kw_only=True)
class Distances:
    """How far to run, and which rates to try."""

    tokens: int = 6_000_000
    """Budget of nanoGPT's final runs: their best dev loss is the target of all others."""
    sweep_tokens: int = 2_000_000
    """Budget of the runs that choose a rate."""
    rates: tuple[float, ...] = (1e-3, 3e-3, 6e-3)
    """Peak rates of AdamW to choose from."""
    embedding_rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2)
    """Peak rates of the control's embeddings to choose from."""
    fractions: tuple[float, ...] = (0.25, 1 / 3, 0.4, 0.5)
    """Our budgets, as fractions of nanoGPT's."""
    control_fractions: tuple[float, ...] = (0.5, 0.75)
    """The control's budgets."""
    seeds: int = 2
    """Of every run that decides something."""

    def __post_init__(self) -> None:
        for name in ("tokens", "sweep_tokens", "seeds"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("rates", "embedding_rates", "fractions", "control_fractions"):
            values = getattr(self, name)
            if not values or min(values) <= 0:
                raise UsageError(f"{name} are {values}; expected numbers above 0")

    def budget(self, fraction: float) -> int:
        """Tokens."""
        return round(fraction * self.tokens)


def crossing(curve: Curve, level: float) -> float | None:
    """Tokens at which a curve first comes down to a level, on the straight line between two evaluations; or None."""
    for place, (tokens, loss) in enumerate(curve):
        if loss <= level:
            if place == 0:
                return float(tokens)
            before, above = curve[place - 1]
            return before + (tokens - before) * (above - level) / (above - loss)
    return None


def target_loss(finished: list[Finished], tokens: int) -> float | None:
    """nanoGPT's best dev loss: the lowest point of its runs on the whole budget; None as long as there are none."""
    losses = [
        loss for one in finished if one.run.who == "nanogpt" and one.run.tokens == tokens for _, loss in one.curve
    ]
    return min(losses, default=None)


def race_nanogpt(distances: Distances, do: Do) -> None:
    """Sweep the rate, then run the whole budget at the best one, with every seed."""
    sweep = [do(Run(who="nanogpt", tokens=distances.sweep_tokens, seed=0, rate=rate)) for rate in distances.rates]
    rate = min(sweep, key=lambda one: one.loss).run.rate
    for seed in range(distances.seeds):
        do(Run(who="nanogpt", tokens=distances.tokens, seed=seed, rate=rate))


def race_control(distances: Distances, do: Do) -> None:
    """Sweep the embeddings' rate at the middle one of the others, then the others' at the best; then the budgets."""

    def trial(rate: float, embedding_rate: float) -> Finished:
        tokens = distances.sweep_tokens
        return do(Run(who="control", tokens=tokens, seed=0, rate=rate, embedding_rate=embedding_rate))

    middle = distances.rates[len(distances.rates) // 2]
    first = [trial(middle, embedding_rate) for embedding_rate in distances.embedding_rates]
    best = min(first, key=lambda one: one.loss).run
    assert best.embedding_rate is not None
    second = [trial(rate, best.embedding_rate) for rate in distances.rates]
    best = min(second, key=lambda one: one.loss).run
    for fraction in distances.control_fractions:
        tokens, rates = distances.budget(fraction), {"rate": best.rate, "embedding_rate": best.embedding_rate}
        do(Run(who="control", tokens=tokens, seed=0, **rates))


def race_tinytale(distances: Distances, do: Do, target: float | None) -> None:
    """The budgets from the smallest, until one reaches the target with every seed; all of them without a target."""
    for fraction in sorted(distances.fractions):
        for seed in range(distances.seeds if target is not None else 1):
            one = do(Run(who="tinytale", tokens=distances.budget(fraction), seed=seed))
            if target is None or crossing(one.curve, target) is None:
                break
        else:
            return
