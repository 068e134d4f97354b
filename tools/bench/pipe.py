"""The child's end of a contest: one JSON object a line, read from standard input and answered on standard output.

First comes a request, answered when everything is warm; then `{"steps": K}`, answered with seconds; at the end of the
input the process says how much memory it had. An answer `{"refused": reason}` is its last.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch

from tinytale.errors import TaleError
from tinytale.resources import process_peak_memory

Turn = Callable[[int], list[float]]
"""From a number of steps to the seconds of each."""


def serve(set_up: Callable[[str], tuple[dict[str, Any], Turn]]) -> None:
    """Serve one parent until it closes the pipe. From a request `set_up` makes facts about what is warm, and a turn."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a contender prints is no answer

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    request, begun = sys.stdin.readline(), time.perf_counter()
    try:
        facts, turn = set_up(request)
    except Exception as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines() or ["no reason given"]
        answer({"refused": lines[0] if isinstance(error, TaleError) else f"{type(error).__name__}: {lines[0]}"})
        return
    versions = {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability()}
    for name in ("transformers", "ctranslate2", "llama_cpp"):
        if name in sys.modules:
            versions[name] = sys.modules[name].__version__
    facts = {**facts, "versions": versions, "threads": torch.get_num_threads()}
    answer({"set_up_seconds": time.perf_counter() - begun, "facts": facts})
    for line in sys.stdin:
        answer({"seconds": turn(json.loads(line)["steps"])})
    answer({"peak_memory": process_peak_memory()})
