import pytest

from tinytale.native import instructions
from tinytale.native.instructions import allowed, choices

ALL = {name for level in instructions.LEVELS.values() for name in level}


@pytest.mark.parametrize(
    ("limit", "last", "left_out"),
    [
        ("", "amx_bf16", None),
        ("DEFAULT", "amx_bf16", None),
        ("avx512_core_bf16", "avx512_bf16", "amx_tile"),
        ("AVX512_CORE", "avx512vl", "avx512_vnni"),
        ("AVX2", "fma", "avx_vnni"),
        ("AVX2_VNNI_2", "avx_vnni", "avx512f"),
        ("AVX10_1_512", "avx512_bf16", "amx_tile"),
        ("AVX10_1_512_AMX", "amx_bf16", None),
    ],
)
def test_onednns_own_switch_binds_our_kernels_too(limit: str, last: str, left_out: str, monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    monkeypatch.setattr(instructions, "processor_flags", lambda: ALL)
    assert list(allowed())[-1] == last
    assert left_out not in allowed()


def test_the_least_is_what_every_processor_has(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert choices(("-O3",)) == [("-O3",)]


def test_older_compilers_are_asked_for_less(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(instructions, "processor_flags", lambda: ALL)
    best, older, oldest = choices(())
    assert "-mamx-int8" in best and "-mavx512f" in older and "-mamx-int8" not in older
    assert oldest == ("-mavx2", "-mfma")


def test_what_a_processor_lacks_is_not_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(instructions, "processor_flags", lambda: {"avx2", "sse4_1", "avx512_vnni"})
    assert list(allowed().values()) == ["-mavx2", "-mavx512vnni"]
