"""What a person should know about a run that is too short to learn."""

import math

from tinytale.training.display import clock
from tinytale.training.loop import TrainState
from tinytale.training.schedule import rate_fraction

SHORT, LONG_ENOUGH = 2, 4
"""In warm-ups: a run of fewer steps is told that it is short, and how to have so many."""


def warm_up_advice(state: TrainState) -> str:
    """A line for a run that is over before its learning rate has done its work; empty for others.

    After some steps it also says how long the advised run would take.
    """
    steps, warm_up, done = state.max_steps, state.config.optimiser.warmup_steps, state.progress
    if steps >= SHORT * warm_up:
        return ""
    highest = max(rate_fraction(step, steps, state.config.optimiser) for step in range(steps))
    passes = steps / state.steps_per_epoch
    advised = max(LONG_ENOUGH * warm_up, steps + 1)
    option = f"--max-steps {advised}"
    if state.config.run.max_steps is None:
        epochs = math.ceil(advised / state.steps_per_epoch)
        advised = epochs * state.steps_per_epoch
        option = f"--run.epochs {epochs} ({advised:,} steps)"
    takes = f" takes about {clock(advised * done.seconds / done.step)}" if done.step else ""
    learns = f"{takes}, and learns more" if takes else " learns more"
    return (
        f"This run is short: {steps:,} steps, {passes:,.2g} passes over the text, of which the learning rate climbs for"
        f" {warm_up:,}; it reaches {highest:.0%} of its peak. {option}{learns}."
    )
