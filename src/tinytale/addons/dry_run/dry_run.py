"""`tinytale train --dry-run`: what a run will take on this machine, from a few of its real steps."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tinytale.commands.options import print_json
from tinytale.console import console
from tinytale.errors import UsageError
from tinytale.resources import GIBIBYTE

if TYPE_CHECKING:
    from tinytale.training.loop import TrainState
    from tinytale.training.session import Session


def rehearsal(dry_run: bool, price_per_hour: float | None, json: bool) -> Callable[..., int] | None:
    """What `train` does in place of training, as its options say; None to train.

    Raises:
        UsageError: an option that only goes with --dry-run, or a price that is none.
    """
    if price_per_hour is not None and not 0 <= price_per_hour < math.inf:
        raise UsageError(f"price-per-hour is {price_per_hour}; expected a number of at least 0")
    if dry_run:
        return partial(_rehearse, price_per_hour=price_per_hour, json=json)
    if price_per_hour is not None or json:
        raise UsageError("--price-per-hour and --json say how to show a --dry-run; give that too, or leave them out")
    return None


def _rehearse(session: "Session", price_per_hour: float | None, json: bool) -> int:
    from tinytale.addons.dry_run.rehearsal import rehearse
    from tinytale.training.estimate import checkpoints, estimate, evaluations

    folder, state, tokenizer = session.folder, session.state, session.dataset.tokenizer
    first = min(folder.pointer("latest") or 0, state.max_steps)
    steps = state.max_steps - first
    tokens = steps * state.config.tokens_per_step
    need = estimate(
        replace(state.config, run=replace(state.config.run, precision=state.precision)),
        tokenizer.vocab_size,
        state.teacher.config if state.teacher else None,
    )
    with console.status("measuring: some steps, a piece of an evaluation, a checkpoint"):
        found = rehearse(
            state,
            session.material.batches,
            session.material.dev_tokens_N,
            folder.path.absolute().parent,
            tokenizer.end_of_text,
            tokenizer.to_json().encode(),
        )
    total = found.total(state, first)
    result = {
        "device": state.device.type,
        "precision": state.precision,
        "parameters": need.parameters,
        "steps": steps,
        "tokens": tokens,
        "flop_per_token": need.flop_per_token,
        "flop": need.flop_per_token * tokens,
        "memory": {"estimated": need.memory_bytes, "measured": found.memory},
        "evaluations": evaluations(state.config, first, state.max_steps),
        "checkpoints": checkpoints(state.config, first, state.max_steps, found.step),
        "seconds": {
            "step": found.step,
            "compilation": found.compilation,
            "evaluation": found.evaluation,
            "checkpoint": found.checkpoint,
            "model": found.model,
            "total": total,
        },
        "measured_on": {
            "sequences": found.sequences,
            "of": state.config.data.batch_size,
            "compiled": found.compiled,
        },
        "cost": None if price_per_hour is None else total / 3600 * price_per_hour,
    }
    if json:
        print_json(result)
    else:
        _show(result, state, price_per_hour)
    return 0


def _show(result: dict[str, Any], state: "TrainState", price_per_hour: float | None) -> None:
    from rich.table import Table
    from rich.text import Text

    from tinytale.training.display import clock

    seconds, memory, on = result["seconds"], result["memory"], result["measured_on"]
    speed = state.config.tokens_per_step / seconds["step"]
    owner = "of the device's tensors" if result["device"] == "cuda" else "of the process, torch and all"
    rows = [
        ("parameters", f"{result['parameters']:,}"),
        ("device", f"{result['device']}, {result['precision']}"),
        ("steps", f"{result['steps']:,}"),
        ("tokens", f"{result['tokens']:,}"),
        ("computation", f"{result['flop']:.3g} FLOP ({result['flop_per_token'] / 1e6:,.1f} million a token)"),
        ("memory", f"about {memory['estimated'] / GIBIBYTE:.2f} GiB by the formula"),
        ("", f"{memory['measured'] / GIBIBYTE:.2f} GiB measured, the peak {owner}"),
        ("a step", f"{seconds['step']:.3g} s: {speed:,.0f} tokens/s"),
        ("evaluations", f"{result['evaluations']:,} of {seconds['evaluation'] + seconds['model']:.3g} s"),
        ("checkpoints", f"{result['checkpoints']:,} of {seconds['checkpoint']:.3g} s"),
    ]
    if on["compiled"]:
        rows.append(("compilation", f"{seconds['compilation']:.3g} s"))
    rows.append(("time", clock(seconds["total"])))
    if price_per_hour is not None:
        rows.append(("cost", f"{result['cost']:,.2f}, at {price_per_hour:,.2f} an hour"))
    table = Table(show_header=False, box=None, title="Dry run", title_justify="left")
    for name, value in rows:
        table.add_row(Text(name, style="dim"), value)
    console.print(table)
    if on["sequences"] < on["of"]:
        eager = "" if on["compiled"] or not state.compiled else ", not compiled"
        console.print(
            f"A step takes long here: it was measured on {on['sequences']} of its {on['of']} sequences{eager},"
            " and the memory too."
        )
