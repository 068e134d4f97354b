"""Encoding with GPT-2's tokenizer against the usual way: `datasets.map` over tiktoken on two processes, then one file.

Whole commands on the same file, in turn, medians. Needs TINYSTORIES, TINYTALE_GPT2_TOKENIZER, `pip install datasets`:

    python3 run.py test --peers tests/peers/test_encoding_speed.py -s
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROUNDS = 5

THEIRS = r"""
import sys
from pathlib import Path

import numpy as np
import tiktoken
from datasets import Dataset
from tiktoken.load import data_gym_to_mergeable_bpe_ranks

source, tokenizer, out, processes = sys.argv[1:]
pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def encoding():
    ranks = data_gym_to_mergeable_bpe_ranks(f"{tokenizer}/merges.txt", f"{tokenizer}/vocab.json")
    return tiktoken.Encoding("gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256})


made = []


def encode(example):
    if not made:
        made.append(encoding())
    ids = [*made[0].encode_ordinary(example["text"]), 50256]
    return {"ids": ids, "length": len(ids)}


if __name__ == "__main__":
    texts = [text.strip() for text in Path(source).read_text(encoding="utf-8").split("\n<|endoftext|>\n")]
    if processes == "0":
        import time

        reference = encoding()
        begun = time.perf_counter()
        for text in texts:
            reference.encode_ordinary(text)
        print(time.perf_counter() - begun)
    else:
        stories = Dataset.from_dict({"text": [text for text in texts if text]})
        encoded = stories.map(encode, remove_columns=["text"], num_proc=int(processes))
        tokens = np.memmap(out, dtype=np.uint16, mode="w+", shape=(sum(encoded["length"]),))
        place = 0
        for index in range(64):
            shard = encoded.shard(num_shards=64, index=index, contiguous=True).with_format("numpy")
            ids = np.concatenate(shard["ids"])
            tokens[place : place + len(ids)] = ids
            place += len(ids)
        tokens.flush()
"""


def seconds(*command: str, **variables: str) -> tuple[float, str]:
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, *command], env=os.environ | variables, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - begun, done.stdout


@pytest.mark.peers
def test_prepare_is_at_least_as_fast_as_datasets_over_tiktoken(tmp_path: Path, capsys):
    pytest.importorskip("datasets", reason="the peer is not installed: pip install datasets")
    for name in ("TINYSTORIES", "TINYTALE_GPT2_TOKENIZER"):
        if name not in os.environ:
            pytest.skip(f"{name} is not set")
    text, tokenizer = Path(os.environ["TINYSTORIES"]) / "train.txt", os.environ["TINYTALE_GPT2_TOKENIZER"]
    script, out = tmp_path / "theirs.py", tmp_path / "dataset"
    script.write_text(THEIRS, encoding="utf-8")
    ours, theirs, raw = [], [], []
    for _ in range(ROUNDS):
        shutil.rmtree(out, ignore_errors=True)
        prepare = ["-m", "tinytale", "prepare", str(text), "--tokenizer", tokenizer, "--out", str(out)]
        ours.append(seconds(*prepare, "--processes", "2")[0])
        arguments = [str(script), str(text), tokenizer, str(tmp_path / "train.bin")]
        theirs.append(seconds(*arguments, "2", HF_HOME=str(tmp_path / "cache"), HF_HUB_OFFLINE="1")[0])
        raw.append(float(seconds(*arguments, "0")[1]))
    size = text.stat().st_size / 1e6
    with capsys.disabled():
        for name, times in (("tinytale prepare", ours), ("datasets + tiktoken", theirs), ("raw tiktoken loop", raw)):
            middle = statistics.median(times)
            print(
                f"\n{name:20} {middle:6.1f} s  {size / middle:5.1f} MB/s  ({min(times):.1f} to {max(times):.1f})",
                end="",
            )
        print()
    assert statistics.median(ours) <= statistics.median(theirs)
