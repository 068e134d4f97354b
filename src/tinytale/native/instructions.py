"""Which of this processor's instructions a kernel may use, as flags for the compiler."""

import os
import sys
from pathlib import Path

BASE = ("-O3", "-std=c++17", "-fPIC", "-shared", "-fopenmp-simd", "-fno-trapping-math", "-Wno-psabi")
"""Flags for code that the compiler is to make wide by itself; GCC leaves out what compares, unless it cannot trap."""

LEVELS = {
    "SSE41": {},
    "AVX": {},
    "AVX2": {"avx2": "-mavx2", "fma": "-mfma"},
    "AVX2_VNNI": {"avx_vnni": "-mavxvnni"},
    "AVX2_VNNI_2": {},
    "AVX512_CORE": {f"avx512{part}": f"-mavx512{part}" for part in ("f", "bw", "dq", "vl")},
    "AVX512_CORE_VNNI": {"avx512_vnni": "-mavx512vnni"},
    "AVX512_CORE_BF16": {"avx512_bf16": "-mavx512bf16"},
    "AVX512_CORE_FP16": {},
    "AVX512_CORE_AMX": {"amx_tile": "-mamx-tile", "amx_int8": "-mamx-int8", "amx_bf16": "-mamx-bf16"},
    "AVX512_CORE_AMX_FP16": {},
}
"""By oneDNN's names of instruction sets, each with all before it: instructions as Linux names them, and their flags."""


def processor_flags() -> set[str]:
    """What this processor has, as Linux names it; nothing elsewhere."""
    cpuinfo = Path("/proc/cpuinfo")
    if sys.platform != "linux" or not cpuinfo.is_file():
        return set()
    lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    return set(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def allowed() -> dict[str, str]:
    """The instructions that this processor has and oneDNN's own switch, ONEDNN_MAX_CPU_ISA, leaves to this process."""
    limit, present, found = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper(), processor_flags(), {}
    if limit.startswith("AVX10_1_512"):  # other names of the last three: AVX10_1_512_AMX is AVX512_CORE_AMX
        limit = "AVX512_CORE" + (limit.removeprefix("AVX10_1_512") or "_FP16")
    for level, instructions in LEVELS.items():
        found |= {name: flag for name, flag in instructions.items() if name in present}
        if level == limit:
            break
    return found


def choices(base: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Flags to try, the best first: compilers from before some instructions take a later choice."""
    flags = tuple(allowed().values())
    older = tuple(flag for flag in flags if not flag.startswith(("-mamx", "-mavxvnni")))
    oldest = tuple(flag for flag in flags if flag in LEVELS["AVX2"].values())
    return [(*base, *chosen) for chosen in dict.fromkeys((flags, older, oldest))]
