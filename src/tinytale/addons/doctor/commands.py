"""`tinytale doctor`: what this machine has, and what it can train."""

import platform
import shutil

from rich.table import Table
from rich.text import Text

from tinytale import __version__
from tinytale.commands.options import print_json
from tinytale.console import console
from tinytale.resources import GIBIBYTE, available_cores


def doctor(*, json: bool = False) -> None:
    """Show what this machine has, and which recipes fit.

    These are Python, torch, device, number formats, compiler and memory.

    Parameters
    ----------
    json: bool
        Print one JSON object.
    """
    import psutil
    import torch

    from tinytale.generation import native_decoder
    from tinytale.hardware import multiplies_bfloat16, pick_device
    from tinytale.model import native_attention
    from tinytale.native.build import compiler
    from tinytale.recipes import RECIPES
    from tinytale.training.estimate import estimate

    device = pick_device()
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
    else:
        memory = psutil.virtual_memory()
        free, total = memory.available, memory.total
        name = platform.processor() or platform.machine()
    facts = {
        "tinytale": __version__,
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "torch": torch.__version__,
        "device": f"{device.type} ({name})",
        "cores": f"{available_cores()} ({torch.get_num_threads()} threads for products)",
        "bfloat16 products": "yes, training uses them" if multiplies_bfloat16(device) else "no; training uses float32",
        "C++ compiler": compiler() or "none: torch.compile will fall back to eager",
        "attention": native_attention.describe() if device.type == "cpu" else "torch's",
        "decoder": native_decoder.describe() if device.type == "cpu" else "torch's",
        "memory": f"{free / GIBIBYTE:.1f} GiB free of {total / GIBIBYTE:.1f}",
        "disk": f"{shutil.disk_usage('.').free / GIBIBYTE:.1f} GiB free here",
    }
    fits = []
    for recipe_name, make in RECIPES.items():
        config = make()
        need = estimate(config, 50_257 if recipe_name == "gpt2" else 8192)
        fits.append(
            {
                "recipe": recipe_name,
                "weights": need.parameters,
                "memory": need.memory_bytes,
                "fits": need.memory_bytes < free,
            }
        )
    if json:
        print_json({**facts, "recipes": fits})
        return
    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        table.add_row(Text(key, style="dim"), value)
    console.print(table)
    recipes = Table(title="What fits")
    for heading in ("recipe", "weights", "memory to train", ""):
        recipes.add_column(heading, justify="right" if heading in ("weights", "memory to train") else "left")
    for row in fits:
        verdict = (
            Text("fits", "green")
            if row["fits"]
            else Text("too large: train with a lower --data.micro-batch-size", "yellow")
        )
        recipes.add_row(
            row["recipe"], f"{row['weights'] / 1e6:.1f}M", f"about {row['memory'] / GIBIBYTE:.1f} GiB", verdict
        )
    console.print(recipes)
