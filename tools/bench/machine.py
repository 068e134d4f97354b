"""What a measurement was made on."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from tinytale.resources import available_cores

FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8", "asimd")
"""Instructions that decide how fast products are, as Linux names them."""


def machine_facts() -> dict[str, Any]:
    """Processor, system, and how busy they were before."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return {
        "processor": fields.get("model name") or _processor_name(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": available_cores(),
        "system": platform.platform(terse=True),
        "libc": " ".join(platform.libc_ver()).strip(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _processor_name() -> str:
    if sys.platform == "darwin":
        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, encoding="utf-8")
        return asked.stdout.strip() or platform.machine()
    return platform.processor() or platform.machine()
