"""Files that are damaged, odd or hostile: our error in good time, and nothing in them is ever run.

--full does 10,000 mutations.
"""

import hashlib
import json
import math
import pickle
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from tinytale.commands.evaluate import evaluate
from tinytale.commands.generate import generate
from tinytale.commands.train import train
from tinytale.data.shards import _hash
from tinytale.errors import TaleError
from tinytale.training.checkpoint import _seal
from tinytale.training.trainer import Trainer

SECONDS = 2.0
MEMORY = 500 * 2**20

ODD = [
    None, True, False, 0, 1, -1, 7, 2**24, 2**31, 2**53, 2**64, -(2**63), 10**30, 0.5, 1e308, -0.0, math.nan, math.inf,
    "", "x", "gpt2", "tinytale", "sinusoidal", "../../x", "\0", "\ud800", "x" * 10_000, [], {}, [[]], [None], {"a": 1},
    ["step"], "0" * 64,
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> Path:
    """A folder with a dataset, a run on it and a story."""
    from tinytale.config import DataConfig, ModelConfig, OptimiserConfig, RunConfig, TrainConfig
    from tinytale.files import write_text

    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(dataset, folder / "data")
    (folder / "story.txt").write_text("Once upon a time, there was a small dog.\n")
    settings = TrainConfig(
        recipe="pocket",
        model=ModelConfig(layers=2, heads=2, width=16, context_length=16),
        data=DataConfig(batch_size=4),
        optimiser=OptimiserConfig(algorithm="muon"),
        run=RunConfig(max_steps=4, evaluate_every=2, evaluate_tokens=100, precision="float32", device="cpu"),
    )
    write_text(folder / "settings.toml", settings.to_toml())
    train(str(folder / "data"), out=folder / "run", config=folder / "settings.toml")
    (folder / "run" / "model" / "model.safetensors.sha256").unlink()  # an attacker would write another
    return folder


@pytest.fixture(autouse=True)
def little_memory(whole: Path) -> Iterator[None]:
    """No test takes more than so much beyond what the process has: a missing check is an error, not a full machine."""
    if sys.platform == "win32":
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


# --- What is asked ---------------------------------------------------------------------------------------------------


def ask_to_generate(folder: Path) -> None:
    generate(str(folder / "run"), "Once there", max_new_tokens=3, device="cpu", json=True)


def ask_to_evaluate(folder: Path) -> None:
    evaluate(str(folder / "run"), data=str(folder / "story.txt"), out=folder / "results", device="cpu")


def ask_to_evaluate_its_dataset(folder: Path) -> None:
    data = None if (folder / "run" / "config.toml").read_bytes() != b"" else str(folder / "data")
    evaluate(str(folder / "run"), data=data, split="dev", device="cpu")


def ask_to_resume(folder: Path) -> None:
    train(str(folder / "data"), out=folder / "run", resume=True)


# --- What is done to the files ---------------------------------------------------------------------------------------


def change_bytes(content: bytes, chosen: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chosen.choice([1, 1, 2, 8])):
        start = chosen.randrange(len(data) + 1)
        end = min(len(data), start + chosen.choice([1, 2, 7, 50, 1000]))
        how = chosen.randrange(6)
        if how == 0 and start < len(data):
            data[start] ^= 1 << chosen.randrange(8)
        elif how == 1:
            del data[start:end]
        elif how == 2:
            data[start:start] = data[start:end]
        elif how == 3:
            data[start:end] = chosen.randbytes(end - start)
        elif how == 4:
            data[start:start] = chosen.choice(
                [b"9" * 20, b"9" * 5000, b"-", b"[" * 3000, b'{"a":' * 3000, b"null", b"\0"]
            )
        else:
            del data[start:]
    return bytes(data)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a JSON value with every key or index in it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(items):
        yield value, key
        yield from places(part)


def change_values(value: Any, chosen: random.Random) -> Any:
    value = json.loads(json.dumps(value))
    if chosen.random() < 0.03:
        return chosen.choice(ODD)
    for _ in range(chosen.choice([1, 1, 1, 3])):
        found = list(places(value))
        if not found:
            break
        container, key = chosen.choice(found)
        how = chosen.random()
        if how < 0.15:
            del container[key]
        elif how < 0.3 and type(container[key]) in (int, float):
            container[key] = container[key] * chosen.choice([-1, 2, 10, 1000]) + chosen.choice([-1, 0, 1])
        elif how < 0.35 and isinstance(container, dict):
            container[chosen.choice(["a", "step", "", "sha256"])] = container[key]
        else:
            container[key] = chosen.choice(ODD)
    return value


def change_json(content: bytes, chosen: random.Random, seal: Callable[[dict], dict] = lambda value: value) -> bytes:
    value = change_values(json.loads(content), chosen)
    if isinstance(value, dict) and chosen.random() < 0.7:
        value = seal(value)
    return json.dumps(value).encode()


def sealed_manifest(value: dict) -> dict:
    content = {key: part for key, part in value.items() if key != "sha256"}
    return content | {"sha256": _hash(content)}


def sealed_state(value: dict) -> dict:
    content = {key: part for key, part in value.items() if key != "seal"}
    return content | {"seal": _seal(content)}


def change_header(content: bytes, chosen: random.Random) -> bytes:
    """The JSON in front of the tensors of a safetensors file."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(change_values(json.loads(content[8 : 8 + size]), chosen)).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def change_metrics(content: bytes, chosen: random.Random) -> bytes:
    lines = change_values([json.loads(line) for line in content.splitlines()], chosen)
    return b"\n".join(json.dumps(line).encode() for line in (lines if isinstance(lines, list) else [lines]))


def change_toml(content: bytes, chosen: random.Random) -> bytes:
    lines = content.decode().splitlines()
    place = chosen.choice([index for index, line in enumerate(lines) if "=" in line])
    value = chosen.choice(
        ["0", "-1", "1e9", "nan", "inf", '""', '"x"', "[]", "[1, 2]", "true", str(2**24), str(2**62), "9" * 400]
    )
    lines[place] = lines[place].split("=")[0] + f"= {value}"
    return "\n".join(lines).encode()


STEP = "run/checkpoints/step-00000004"
TARGETS: dict[str, tuple[str, list[Callable], list[Callable]]] = {
    "config.json": ("run/model/config.json", [change_bytes, change_json], [ask_to_generate, ask_to_evaluate]),
    "weights": ("run/model/model.safetensors", [change_bytes, change_header], [ask_to_generate, ask_to_evaluate]),
    "tokenizer.json": ("run/model/tokenizer.json", [change_bytes, change_json], [ask_to_generate, ask_to_evaluate]),
    "manifest.json": (
        "data/manifest.json",
        [change_bytes, lambda content, chosen: change_json(content, chosen, sealed_manifest)],
        [ask_to_resume, ask_to_evaluate_its_dataset],
    ),
    "dataset's tokenizer": ("data/tokenizer.json", [change_bytes, change_json], [ask_to_resume]),
    "config.toml": ("run/config.toml", [change_bytes, change_toml], [ask_to_resume, ask_to_evaluate_its_dataset]),
    "state.json": (
        f"{STEP}/state.json",
        [change_bytes, lambda content, chosen: change_json(content, chosen, sealed_state)],
        [ask_to_resume],
    ),
    "optimiser": (f"{STEP}/optimiser.safetensors", [change_bytes, change_header], [ask_to_resume]),
    "checkpoint": (f"{STEP}/model.safetensors", [change_bytes, change_header], [ask_to_resume]),
    "metrics": ("run/metrics.jsonl", [change_bytes, change_metrics], [ask_to_resume]),
    "latest": ("run/latest", [change_bytes], [ask_to_resume]),
}


def reseal(folder: Path) -> None:
    """Let the checkpoint's state vouch for the files as they are now, and for any settings: an attacker would."""
    state = json.loads((folder / STEP / "state.json").read_bytes())
    state.pop("settings", None)
    for name in state["files"]:
        state["files"][name] = hashlib.sha256((folder / STEP / name).read_bytes()).hexdigest()
    (folder / STEP / "state.json").write_text(json.dumps(sealed_state(state)))


@pytest.mark.parametrize("target", TARGETS)
def test_a_mutated_file_is_used_or_refused_in_good_time(
    target: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count
):
    """Never another error than ours. What a resumed run would do with odd but possible settings is not awaited."""
    monkeypatch.setattr(Trainer, "train", lambda self, interrupt: self._metrics().__exit__(None, None, None) or 0)
    file, changes, questions = TARGETS[target]
    original, refused = (whole / file).read_bytes(), 0
    attempts = count(25, 10_000 // len(TARGETS) + 1)
    for attempt in range(attempts):
        chosen, folder = random.Random(f"{target} {attempt}"), tmp_path / "mutated"
        shutil.copytree(whole, folder)
        (folder / "run" / "config.toml").write_text(
            (whole / "run" / "config.toml").read_text().replace(str(whole), str(folder))
        )
        (folder / file).write_bytes(chosen.choice(changes)(original, chosen))
        if target in ("optimiser", "checkpoint"):
            reseal(folder)
        begun = time.monotonic()
        try:
            chosen.choice(questions)(folder)
        except TaleError:
            refused += 1
        assert time.monotonic() - begun < SECONDS, attempt
        shutil.rmtree(folder)
    assert refused > attempts / 5 or target == "metrics"  # of which what can be read is kept


CLAIMS = [("run/model/config.json", name) for name in ("n_layer", "n_embd", "n_positions", "vocab_size")]
CLAIMS += [("run/config.toml", name) for name in ("layers", "width", "context_length")]


@pytest.mark.parametrize(("file", "size"), CLAIMS)
def test_sizes_that_are_only_claimed_take_no_memory(file: str, size: str, whole: Path, tmp_path: Path):
    folder = tmp_path / "folder"
    shutil.copytree(whole, folder)
    path = folder / file
    if file.endswith("json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {size: 2**24}))
    else:
        path.write_text(
            "\n".join(f"{size} = {2**24}" if line.startswith(size) else line for line in path.read_text().splitlines())
        )
        reseal(folder)
    begun = time.monotonic()
    with pytest.raises(TaleError, match=r"not the shape|from 1 to 1024|shapes are others|too few for a window"):
        ask_to_generate(folder) if file.endswith("json") else ask_to_resume(folder)
    assert time.monotonic() - begun < SECONDS


ODD_MOMENTS = {
    "embedding.weight_VC/exp_avg": (None, "embedding.weight_VC/exp_avg is missing"),
    "embedding.weight_VC/step": (torch.zeros(2), r"step has shape \(2,\)"),
    "blocks.0.attention.qkv.weight/momentum": (torch.zeros(48, 16, dtype=torch.int32), "type torch.int32"),
    "strange": (torch.zeros(1), "strange is missing, or one too many"),
}


@pytest.mark.parametrize("name", ODD_MOMENTS)
def test_an_optimiser_state_of_something_else_is_refused(name: str, whole: Path, tmp_path: Path):
    folder, (tensor, message) = tmp_path / "folder", ODD_MOMENTS[name]
    shutil.copytree(whole, folder)
    path = folder / STEP / "optimiser.safetensors"
    moments = load_file(path) | ({name: tensor} if tensor is not None else {})
    save_file({key: value for key, value in moments.items() if key != name or tensor is not None}, path)
    reseal(folder)
    with pytest.raises(TaleError, match=message) as error:
        ask_to_resume(folder)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_weights_that_have_run_away_are_named_as_such(value: float, whole: Path, tmp_path: Path):
    folder = tmp_path / "folder"
    shutil.copytree(whole, folder)
    path = folder / "run" / "model" / "model.safetensors"
    save_file({name: torch.full_like(tensor, value) for name, tensor in load_file(path).items()}, path)
    for question in (ask_to_generate, ask_to_evaluate):
        with pytest.raises(TaleError, match="logits that are not finite: its weights are damaged"):
            question(folder)


# --- Pickles ---------------------------------------------------------------------------------------------------------


class Bomb:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


BOMBS = [
    "run/model/model.safetensors", "run/model/pytorch_model.bin", "run/model/model.pt", "run/model/config.json",
    "run/model/tokenizer.json", "run/model/generation_config.json", "run/config.toml", "run/metrics.jsonl",
    "run/latest",
    f"{STEP}/model.safetensors", f"{STEP}/optimiser.safetensors", f"{STEP}/state.json", f"{STEP}/optimiser.pt",
    "data/manifest.json", "data/tokenizer.json", "data/train-00000.bin", "story.txt",
]  # fmt: skip


@pytest.mark.parametrize("place", BOMBS)
@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_pickle_bomb_is_never_run(kind: str, place: str, whole: Path, tmp_path: Path, tale):
    folder, mark = tmp_path / "folder", tmp_path / "exploded"
    shutil.copytree(whole, folder)
    if kind == "pickle":
        (folder / place).write_bytes(pickle.dumps(Bomb(mark)))
    else:
        torch.save({"weight": Bomb(mark)}, folder / place)
    if place.startswith(STEP) and place.endswith(".safetensors"):
        reseal(folder)
    if place.endswith((".bin", ".pt")) and "model" in place:
        (folder / "run/model/model.safetensors").unlink()
    tale("generate", folder / "run", "Once", "--max-new-tokens=2")
    tale("evaluate", folder / "run", "--data", folder / "story.txt", "--out", folder / "results")
    tale("evaluate", folder / "run", "--data", folder / "data", "--split=dev")
    tale("train", folder / "data", "--out", folder / "run", "--resume", "--max-steps=5")
    tale("train", folder / "data", "--out", folder / "new", "--config", folder / "run" / "config.toml", "--max-steps=1")
    assert not mark.exists()


def test_the_bombs_would_explode(tmp_path: Path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "exploded")))
    assert (tmp_path / "exploded").exists()
