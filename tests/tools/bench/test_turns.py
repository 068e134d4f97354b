"""Real processes, tiny models: every contender that needs nothing from outside takes its turns."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench import sizes
from bench.conditions import Conditions, environment
from bench.contenders import CONTENDERS, nanogpt, tinytale
from bench.machine import machine_facts
from bench.peak import PEAK, matrix_products
from bench.sizes import Size
from bench.step_times import chosen_contenders, time_steps, turns
from bench.turns import Contestant, Measured, take_turns
from bench.worker import TrainingRequest, set_up, training_batches
from tinytale.allocator import TUNABLES
from tinytale.data.shards import Manifest
from tinytale.errors import TaleError, UsageError
from tinytale.recipes import recipe
from tinytale.resources import process_peak_memory

TINY = Size(layers=2, width=32, heads=2, context_length=16, vocab_size=300, batch_size=4)


def request(dataset: Path, contender: str, size: Size = TINY, nanogpt: str | None = None) -> TrainingRequest:
    return TrainingRequest(contender=contender, size=size, dataset=str(dataset), nanogpt=nanogpt, warm_up=3)


def test_eager_contenders_train_the_same_thing(dataset: Path):
    losses = {}
    for name in ("transformers", "tinytale-float32", "tinytale-bfloat16"):
        asked = request(dataset, name)
        step, _ = set_up(asked)
        losses[name] = [step(*batch) for batch in training_batches(asked)]
    assert losses["tinytale-float32"] == pytest.approx(losses["transformers"], abs=1e-4)
    assert losses["tinytale-float32"] == pytest.approx(losses["tinytale-bfloat16"], abs=0.02)
    assert losses["tinytale-float32"][-1] < losses["tinytale-float32"][0]
    assert losses["tinytale-float32"] != losses["tinytale-bfloat16"]


def test_the_last_rung_is_the_recipe(dataset: Path):
    batches = training_batches(request(dataset, "tinytale"))
    step = tinytale(TINY, None, optimiser=recipe("small").optimiser)
    assert [step(*batch) for batch in batches][-1] < 5.6
    rungs = [name for name in CONTENDERS if name.startswith("tinytale")]
    assert rungs[-1] == "tinytale"


def test_a_request_survives_the_pipe(dataset: Path):
    asked = request(dataset, "nanogpt", nanogpt="somewhere")
    assert TrainingRequest.from_json(asked.to_json()) == asked
    assert "\n" not in asked.to_json()


def test_contenders_take_turns_in_their_own_processes(dataset: Path, tmp_path: Path):
    said: list[str] = []
    conditions = Conditions(threads=1, rounds=2, steps=2, warm_up=3)
    names = ["tinytale-float32", "tinytale-bfloat16"]
    result = time_steps(dataset, TINY, "tiny", names, None, conditions, said.append)
    assert said[:3] == [f"setting up {name}" for name in [*names, PEAK]]
    assert said[3:] == [f"round {number} of 2: {name}" for number in (1, 2) for name in [*names, PEAK]]
    assert len(said) == turns(len(names), conditions)
    assert list(result["contenders"]) == names
    assert result["dataset"] == Manifest.load(dataset).digest
    assert result["nanogpt_model_sha256"] is None
    for found in result["contenders"].values():
        assert [len(seconds) for seconds in found["rounds"]] == [2, 2]
        assert min(found["rounds"][0]) > 0
        assert found["memory_bytes"] > 50e6
        assert found["facts"]["threads"] == 1
        assert found["facts"]["versions"]["torch"] == torch.__version__
    losses = [found["loss"] for found in result["contenders"].values()]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)
    assert result["peak"]["flop_per_second"] > 1e9
    json.dumps(result, allow_nan=False)


def test_the_peak_is_a_product_that_is_really_done(monkeypatch: pytest.MonkeyPatch):
    step, facts = matrix_products(sides=(16, 32))
    done: list[int] = []
    real = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: done.append(len(a)) or real(a, b))
    step(torch.zeros(1), torch.zeros(1))
    assert facts["flop_per_step"] == sum(2 * side**3 for side in done) > 0


def test_variables_are_the_same_for_all_and_ours_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.perturb=1")
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX2")
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.36"))
    plain = environment(Conditions(threads=3))
    assert plain["OMP_NUM_THREADS"] == "3"
    assert not {"GLIBC_TUNABLES", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA"} & plain.keys()
    tuned = environment(Conditions(threads=1, allocator="tuned", isa="AVX512_CORE_BF16"))
    assert (tuned["GLIBC_TUNABLES"], tuned["ONEDNN_MAX_CPU_ISA"]) == (TUNABLES, "AVX512_CORE_BF16")
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    with pytest.raises(UsageError, match="glibc only"):
        environment(Conditions(threads=1, allocator="tuned"))


def test_one_that_cannot_be_set_up_or_dies_is_named_with_the_reason(dataset: Path, tmp_path: Path):
    variables = environment(Conditions(threads=1))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.py").write_text("import nothing_of_that_name\n", encoding="utf-8")
    with pytest.raises(TaleError, match=r"nanogpt cannot be measured: .*model\.py is not nanoGPT's.*nothing_of_that"):
        take_turns([request(dataset, "nanogpt", nanogpt=str(broken))], variables, 1, 1, lambda doing: None)
    (broken / "model.py").write_text("import os\nprint('not an answer')\nos._exit(7)\n", encoding="utf-8")
    with (
        Contestant(request(dataset, "nanogpt", nanogpt=str(broken)), variables) as contestant,
        pytest.raises(TaleError, match="nanogpt ended with code 7: not an answer"),
    ):
        contestant.warm()


def test_one_that_is_killed_between_its_turns_is_named(dataset: Path):
    with (
        pytest.raises(TaleError, match="tinytale-float32 ended with code"),
        Contestant(request(dataset, "tinytale-float32"), environment(Conditions(threads=1))) as contestant,
    ):
        contestant.warm()
        contestant._process.kill()
        contestant._process.wait()
        contestant.steps(1)


def test_a_model_py_that_is_another_program_is_refused(tmp_path: Path):
    (tmp_path / "model.py").write_text("class GPT: ...\n", encoding="utf-8")
    with pytest.raises(TaleError, match="is not nanoGPT's as of commit 3adf61e154c3"):
        nanogpt(TINY, tmp_path, best=False)
    sys.modules.pop("nanogpt_model")


def test_what_is_measured_on_is_known():
    facts = machine_facts()
    assert facts["processor"]
    assert facts["cores"] >= 1
    before = process_peak_memory()
    block = bytearray(64 * 2**20)
    assert process_peak_memory() >= before
    assert process_peak_memory() > len(block)


def test_lists_and_numbers_are_checked():
    assert chosen_contenders(None) == list(CONTENDERS)
    assert chosen_contenders("tinytale, nanogpt") == ["tinytale", "nanogpt"]
    with pytest.raises(UsageError, match="contender 'pytorch' is unknown; known are nanogpt, "):
        chosen_contenders("pytorch")
    with pytest.raises(UsageError, match="named twice"):
        chosen_contenders("tinytale,tinytale")
    with pytest.raises(UsageError, match="warm_up must be at least 3 and at most 10,000, not 2"):
        Conditions(threads=1, warm_up=2)
    with pytest.raises(UsageError, match="threads must be at least 1 and at most 10,000, not 0"):
        Conditions(threads=0)
    with pytest.raises(UsageError, match="rounds must be at least 1 and at most 10,000, not 3000000000"):
        Conditions(threads=1, rounds=3_000_000_000)


def test_the_command_writes_what_it_prints(
    tale: Callable, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def taken(requests: list[TrainingRequest], *_: object) -> dict[str, Measured]:
        facts = {"flop_per_step": 10, "dtype": "float32", "side": 1, "loss": 1.5}
        return {
            one.contender: Measured(set_up_seconds=2.0, facts=facts, rounds=[[0.5]], peak_memory=1) for one in requests
        }

    monkeypatch.setattr("bench.step_times.take_turns", taken)
    out = tmp_path / "new" / "times.json"
    options = ["--contenders=tinytale-float32", "--threads=1", "--rounds=1", "--steps=1", "--out", out]
    done = tale("bench", "train", dataset, *options, "--json")
    assert done.code == 0
    assert json.loads(done.out) == json.loads(out.read_text(encoding="utf-8"))
    assert json.loads(done.out)["contenders"]["tinytale-float32"]["tokens_per_second"] == 16 * 256 / 0.5
    seen = tale("bench", "train", dataset, *options)
    assert seen.out == ""
    assert "tinytale-float32" in seen.err
    assert "8,192" in seen.err


def test_what_cannot_be_measured_is_said_at_once(
    tale: Callable, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refused(*options: object) -> str:
        done = tale("bench", "train", dataset, *options)
        assert done.code == 2
        return done.err

    assert "nanoGPT's code is needed" in refused("--contenders=nanogpt")
    assert "has no model.py; expected a clone" in refused("--nanogpt", tmp_path)
    assert "is a folder" in refused("--out", tmp_path)
    monkeypatch.setitem(sizes.SIZES, "S", Size(**{**vars(TINY), "vocab_size": 299}))
    assert "vocabulary of 300, size S one of 299; prepare it with --vocab-size 299" in refused()
