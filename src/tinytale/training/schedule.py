"""The course of the learning rate over a run."""

import math

from tinytale.config import OptimiserConfig


def rate_fraction(step: int, max_steps: int, config: OptimiserConfig) -> float:
    r"""The learning rate of step `step` (from 0) as a fraction of its peak.

    A linear warm-up over W steps, $(s + 1)/(W + 1)$; then, with $u$ running from 0 to 1 over the rest, or only over the
    last part of it (Hägele et al., 2024), and final fraction $f$: cosine $f + (1 - f)(1 + \cos \pi u)/2$
    (Loshchilov & Hutter, 2017), linear $f + (1 - f)(1 - u)$, or 1.
    """
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    start = config.warmup_steps + (1 - config.decay_fraction) * (max_steps - config.warmup_steps)
    if config.schedule == "constant" or step < start:
        return 1.0
    progress = (step - start) / max(1, max_steps - start)
    decay = (1 + math.cos(math.pi * progress)) / 2 if config.schedule == "cosine" else 1 - progress
    return config.final_fraction + (1 - config.final_fraction) * max(0.0, decay)
