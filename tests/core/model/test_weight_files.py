"""GPT-2 folders as other programs write them: in pieces, the output layer by itself; and pickles."""

import contextlib
import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tinytale.config import ModelConfig
from tinytale.errors import TaleError
from tinytale.model import weight_files
from tinytale.model.folder import load_model, save_model
from tinytale.model.gpt2 import GPT2
from tinytale.model.weight_files import weights_digest

CONFIG = ModelConfig(vocab_size=11, context_length=6, layers=2, heads=2, width=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(tmp_path / "model", GPT2(CONFIG), end_of_text=10)
    (tmp_path / "model" / "model.safetensors.sha256").unlink()  # as folders of other programs have none
    return tmp_path / "model"


def pieces(folder: Path, count: int = 3) -> None:
    """Spread the weights over files, as transformers does with large models."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    path.unlink()
    places = {name: f"model-{n % count + 1:05}-of-{count:05}.safetensors" for n, name in enumerate(weights)}
    for file in set(places.values()):
        save_file({name: weights[name] for name, place in places.items() if place == file}, folder / file)
    total = {"total_size": sum(tensor.nbytes for tensor in weights.values())}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": total, "weight_map": places}))


def change(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def same(one: GPT2, other: GPT2) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_weights_in_pieces_are_read(folder: Path):
    whole = load_model(folder)
    pieces(folder)
    assert same(load_model(folder), whole)


def test_the_pieces_that_transformers_writes_are_read(folder: Path):
    transformers = pytest.importorskip("transformers")
    whole = load_model(folder)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    theirs.save_pretrained(folder, max_shard_size="2KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert same(load_model(folder), whole)


INDICES = {
    "no map": ({"metadata": {}}, "has no weight_map"),
    "an empty map": ({"weight_map": {}}, "has no weight_map"),
    "a list": ([1], "has no weight_map"),
    "a file elsewhere": ({"weight_map": {"wte.weight": "../other.safetensors"}}, "names '../other.safetensors'"),
    "an absolute path": ({"weight_map": {"wte.weight": "/etc/passwd"}}, "expected the name of a safetensors file"),
    "a hidden file": ({"weight_map": {"wte.weight": ".safetensors"}}, "names '.safetensors'"),
    "a number": ({"weight_map": {"wte.weight": 7}}, "names '7'"),
    "a file that is missing": ({"weight_map": {"wte.weight": "model-9.safetensors"}}, "model-9.safetensors is missing"),
}


@pytest.mark.parametrize("index", INDICES)
def test_an_index_that_leads_elsewhere_is_refused(index: str, folder: Path):
    pieces(folder)
    content, message = INDICES[index]
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    with pytest.raises(TaleError, match=re.escape(message)):
        load_model(folder)


def test_a_piece_that_is_damaged_or_repeats_another_is_named(folder: Path):
    pieces(folder, 2)
    first, second = sorted(folder.glob("*.safetensors"))
    save_file(load_file(first) | load_file(second), first)
    with pytest.raises(TaleError, match=rf"{second.name}: .* comes twice; it is .*{first.name}"):
        load_model(folder)
    second.write_bytes(b"\xff" * 64)
    with pytest.raises(TaleError, match=f"{second.name} cannot be read as safetensors"):
        load_model(folder)


@pytest.mark.parametrize("tied", [True, False])
def test_an_output_layer_that_is_the_embedding_again_is_tied(tied: bool, folder: Path):
    before, path = load_model(folder), folder / "model.safetensors"
    weights = load_file(path)
    save_file(weights | {"lm_head.weight": weights["wte.weight"].clone()}, path)
    change(folder, tie_word_embeddings=tied)
    assert same(load_model(folder), before)


def test_an_output_layer_may_stand_for_the_embedding(folder: Path):
    """As `safetensors.torch.save_model` writes tied weights: one of the two names, whichever comes first."""
    before, path = load_model(folder), folder / "model.safetensors"
    weights = load_file(path)
    weights["lm_head.weight"] = weights.pop("wte.weight")
    save_file(weights, path)
    assert same(load_model(folder), before)


@pytest.mark.parametrize("shape", [(11, 8), (12, 8)])
def test_an_output_layer_of_its_own_is_refused(shape: tuple[int, int], folder: Path):
    path = folder / "model.safetensors"
    save_file(load_file(path) | {"lm_head.weight": torch.ones(shape)}, path)
    with pytest.raises(TaleError, match=r"lm_head\.weight is not the embedding \(wte\.weight\)"):
        load_model(folder)


def test_the_digest_names_the_weights_in_one_file_or_several(folder: Path):
    whole = weights_digest(folder)
    pieces(folder)
    first = weights_digest(folder)
    path = min(folder.glob("*.safetensors"))
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path)
    assert len({whole, first, weights_digest(folder)}) == 3


@pytest.mark.parametrize("names", [["pytorch_model.bin"], ["pytorch_model-1.bin", "pytorch_model-2.bin"], ["gpt2.pt"]])
def test_a_pickle_is_never_opened_and_the_message_says_how_to_convert_it(names: list[str], folder: Path, monkeypatch):
    before, path = load_model(folder), folder / "model.safetensors"
    weights = load_file(path)
    path.unlink()
    torch.save({"not": "weights"}, folder / "training_args.bin")
    if names == ["gpt2.pt"]:
        (folder / "training_args.bin").unlink()
    for part, name in enumerate(names):
        torch.save({k: t for n, (k, t) in enumerate(weights.items()) if n % len(names) == part}, folder / name)
    with pytest.raises(TaleError, match="is a pickle, which is never opened") as error:
        load_model(folder)
    python, c, code, *arguments = shlex.split(str(error.value).partition("convert it: ")[2])
    assert [python, c, *arguments] == ["python", "-c", str(path), *(str(folder / name) for name in names)]
    monkeypatch.setattr(sys, "argv", [c, *arguments])
    exec(code, {})
    assert same(load_model(folder), before)


@pytest.mark.skipif(sys.platform == "win32", reason="its names hold no quotes")
def test_the_advice_quotes_names_for_the_shell(folder: Path):
    """What a stranger calls a file is never a command of the person who copies the line."""
    name = 'a"; touch INJ; $(touch INJ) `touch INJ` \'b".bin'
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(TaleError, match="is a pickle") as error:
        load_model(folder)
    line = str(error.value).partition("convert it: python ")[2]
    done = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {line}"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[2:] == [str(folder / "model.safetensors"), str(folder / name)]
    assert not (folder / "INJ").exists()


def test_the_advice_says_what_a_training_checkpoint_is(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """nanoGPT's, whose matrices lie the other way round: weights taken out of it would be of another model."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({"model": weights, "optimizer": {}, "model_args": {"n_layer": 2}, "iter_num": 5}, folder / "ckpt.pt")
    with pytest.raises(TaleError, match="is a pickle") as error:
        load_model(folder)
    c, code, *arguments = shlex.split(str(error.value).partition("convert it: python ")[2])
    monkeypatch.setattr(sys, "argv", [c, *arguments])
    with pytest.raises(SystemExit, match=r"training checkpoint with model, optimizer, model_args, iter_num \(nanoGPT"):
        exec(code, {})
    assert not (folder / "model.safetensors").exists()


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_weights_that_are_no_floating_point_numbers_are_refused(dtype: torch.dtype, folder: Path):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["wpe.weight"] = weights["wpe.weight"].to(dtype)
    save_file(weights, path)
    with pytest.raises(
        TaleError, match=r"wpe\.weight holds numbers of format \w+; expected one of F64, F32, F16, BF16"
    ):
        load_model(folder)


def test_a_git_lfs_pointer_is_named_as_such(folder: Path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 9\n"
    for name in ("model.safetensors", "config.json"):
        (folder / name).write_text(pointer)
        with pytest.raises(TaleError, match=rf"{name} is a Git LFS pointer.*git lfs pull"):
            load_model(folder)


def test_a_long_list_of_tensors_is_refused_before_it_is_read(folder: Path):
    header = b"{}".ljust(2**24 + 1)
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(TaleError, match="its list of tensors has 16,777,217 bytes"):
        load_model(folder)


def test_a_flipped_bit_in_weights_with_their_sha256_is_noticed(tmp_path: Path):
    save_model(tmp_path, GPT2(CONFIG), end_of_text=10)
    path, beside = tmp_path / "model.safetensors", tmp_path / "model.safetensors.sha256"
    whole = path.read_bytes()
    assert beside.read_text() == f"{hashlib.sha256(whole).hexdigest()}  model.safetensors\n"
    before = load_model(tmp_path)
    for place in (0, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(TaleError, match=r"model\.safetensors (is damaged: its SHA-256|cannot be read)"):
            load_model(tmp_path)
    beside.write_bytes(b"")
    with pytest.raises(TaleError, match="is damaged"):
        load_model(tmp_path)
    path.write_bytes(whole)
    beside.unlink()
    assert same(load_model(tmp_path), before)


def test_weights_that_a_trainer_replaces_meanwhile_are_not_called_damaged(tmp_path: Path, monkeypatch):
    save_model(tmp_path, GPT2(CONFIG), end_of_text=10)
    other = GPT2(CONFIG)
    real, reads = weight_files.sha256_of, []

    def replacing(path: Path) -> str:
        if not reads:
            save_model(tmp_path, other, end_of_text=10)
        reads.append(path)
        return real(path)

    (tmp_path / "model.safetensors.sha256").write_text("0" * 64)
    monkeypatch.setattr(weight_files, "sha256_of", replacing)
    assert same(load_model(tmp_path), other) and len(reads) == 2


def test_what_transformers_saves_has_no_sha256_of_before(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    save_model(tmp_path / "ours", GPT2(CONFIG), end_of_text=10)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "ours")
    with torch.no_grad():
        theirs.transformer.wpe.weight += 1
    theirs.save_pretrained(tmp_path / "tuned")
    assert not same(load_model(tmp_path / "tuned"), load_model(tmp_path / "ours"))


mutations = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4)


@settings(deadline=2000, max_examples=40)
@given(mutations=mutations, index=st.booleans())
def test_a_mutated_piece_or_index_loads_or_is_refused_with_our_error(mutations, index: bool, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "mutated-pieces"
    shutil.rmtree(folder, ignore_errors=True)
    save_model(folder, GPT2(CONFIG), end_of_text=10)
    pieces(folder)
    (folder / "model.safetensors.sha256").unlink()
    path = folder / "model.safetensors.index.json" if index else min(folder.glob("*.safetensors"))
    content = bytearray(path.read_bytes())
    for place, value in mutations:
        content[int(place * min(len(content), 1500))] = value
    path.write_bytes(content)
    with contextlib.suppress(TaleError):
        load_model(folder)
