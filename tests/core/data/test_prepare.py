import hashlib
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytale.data.encoding import Task, encode_tasks, tasks_of
from tinytale.data.prepare import prepare
from tinytale.data.shards import Manifest
from tinytale.data.splits import SPLITS, sample, split_of, story_digest
from tinytale.data.stories import open_source
from tinytale.data.tokenizer import load_tokenizer
from tinytale.errors import TaleError, UsageError

TENTHS = {"dev_fraction": 0.1, "test_fraction": 0.1}


SPEC = importlib.util.spec_from_file_location("data_conftest", Path(__file__).with_name("conftest.py"))
conftest = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(conftest)
make_stories, write_stories = conftest.make_stories, conftest.write_stories


def stories_in(folder: Path, split: str) -> list[str]:
    """The stories of a split, decoded from its shards."""
    manifest, tokenizer = Manifest.load(folder), load_tokenizer(folder)
    tokens = manifest.tokens(folder, split)[:]
    ends = np.flatnonzero(tokens == manifest.end_of_text)
    return [tokenizer.decode(tokens[a + 1 : b]) for a, b in pairwise(ends)]


def bytes_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_every_story_decodes_back_in_its_split(dataset):
    folder, manifest = dataset(count=300)
    expected = {
        split: [s for s in make_stories(300) if split_of(story_digest(s), 0.1, 0.1) == split] for split in SPLITS
    }
    for split in SPLITS:
        assert stories_in(folder, split) == expected[split] and expected[split]
        numbers = manifest.splits[split]
        assert (numbers.stories, numbers.bytes) == (len(expected[split]), sum(len(s.encode()) for s in expected[split]))
    manifest.verify(folder)
    assert sorted(path.suffix for path in folder.iterdir() if path.suffix != ".bin") == [".json", ".json"]


def test_dirty_stories_decode_back(tmp_path):
    dirty = [
        "a\r\nb",
        "nul \0",
        "he said <|endoftext|> twice",
        "从前 🦊 كان",
        "two  spaces \n\n and\ttabs\u3000x",
        "x\ufeffy",
        "\x1c!",
    ] * 3
    content = b"\xef\xbb\xbf" + "\n<|endoftext|>\r\n".join(dirty * 5).encode()
    (tmp_path / "a.txt").write_bytes(content)
    prepare(str(tmp_path / "a.txt"), tmp_path / "out", vocab_size=260, processes=1, dev_fraction=0.0, test_fraction=0.0)
    assert stories_in(tmp_path / "out", "train") == [story.replace("\r\n", "\n") for story in dirty * 5]


def test_the_split_rule():
    digest = bytes([0x80, 0, 0, 0, 0, 0, 0, 0]) + b"x" * 24
    assert split_of(digest, 0.5, 0.4) == "test" and split_of(digest, 0.500001, 0.4) == "dev"
    assert split_of(digest, 0.3, 0.2) == "train" and split_of(digest, 0.0, 0.0) == "train"
    assert split_of(hashlib.sha256("é".encode()).digest(), 0.02, 0.02) == split_of(story_digest("é"), 0.02, 0.02)


def test_duplicates_of_test_stories_are_left_out_and_counted(tmp_path):
    stories = make_stories(120)
    train = write_stories(tmp_path / "train.txt", stories[:100] + stories[:5])
    test = write_stories(tmp_path / "valid.txt", stories[3:8] + stories[100:])
    manifest = prepare(str(train), tmp_path / "out", test=str(test), vocab_size=300, processes=1, dev_fraction=0.1)
    assert manifest.duplicates_of_test == 5 + 2
    assert stories_in(tmp_path / "out", "test") == stories[3:8] + stories[100:]
    rest = set(stories_in(tmp_path / "out", "train")) | set(stories_in(tmp_path / "out", "dev"))
    assert rest == set(stories[:3] + stories[8:100])


def test_test_files_of_a_folder_and_a_test_source_instead(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    stories = make_stories(90)
    write_stories(folder / "train.txt", stories[:60])
    write_stories(folder / "valid.txt", stories[60:70])
    other = write_stories(tmp_path / "other.txt", stories[70:])
    prepare(str(folder), tmp_path / "a", vocab_size=280, processes=1)
    assert stories_in(tmp_path / "a", "test") == stories[60:70]
    said: list[str] = []
    prepare(str(folder), tmp_path / "b", test=str(other), vocab_size=280, processes=1, say=said.append)
    assert stories_in(tmp_path / "b", "test") == stories[70:]
    assert said[0] == "left out, since --test is given: valid.txt"


def test_only_the_first_stories(tmp_path):
    source = write_stories(tmp_path / "a.txt", make_stories(100))
    prepare(str(source), tmp_path / "out", stories=40, vocab_size=280, processes=1, dev_fraction=0.0, test_fraction=0.0)
    assert stories_in(tmp_path / "out", "train") == make_stories(40)


def test_a_given_tokenizer_is_used(dataset, tmp_path):
    folder, first = dataset()
    source = write_stories(tmp_path / "more.txt", make_stories(50))
    second = prepare(str(source), tmp_path / "second", tokenizer=str(folder), processes=1)
    assert second.tokenizer_sha256 == first.tokenizer_sha256 and second.settings["vocab_size"] is None
    assert second.settings["tokenizer"] == "dataset"


def test_the_same_bytes_for_any_number_of_processes(dataset, tmp_path, monkeypatch, count):
    folder, manifest = dataset()
    for processes in (2, 4)[: count(1, 2)]:
        again = prepare(
            str(tmp_path / "stories.txt"),
            tmp_path / f"with-{processes}",
            vocab_size=320,
            processes=processes,
            dev_fraction=0.1,
            test_fraction=0.1,
        )
        assert again == manifest and bytes_of(tmp_path / f"with-{processes}") == bytes_of(folder)


def test_a_second_time_it_verifies_and_returns_at_once(dataset):
    folder, manifest = dataset()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    said: list[str] = []
    _, again = dataset(say=said.append)
    assert again == manifest and said == [f"{folder} is prepared already; every file in it is as it was written"]
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    (folder / "train-00000.bin").write_bytes(b"")
    with pytest.raises(TaleError, match=r"train-00000\.bin"):
        dataset()


@pytest.mark.parametrize("change", [{"vocab_size": 321}, {"dev_fraction": 0.2}, {"stories": 50}, {"count": 301}])
def test_another_request_in_the_same_folder_is_refused(dataset, change):
    folder, _ = dataset()
    before = bytes_of(folder)
    with pytest.raises(UsageError, match=r"made by another request.*choose another --out"):
        dataset(**change)
    assert bytes_of(folder) == before


def test_an_unfinished_dataset_of_another_request_is_refused(dataset, monkeypatch):
    monkeypatch.setattr("tinytale.data.prepare.write_bytes", explode)
    with pytest.raises(TaleError, match="no room"):
        dataset()
    with pytest.raises(UsageError, match="unfinished dataset of another request"):
        dataset(vocab_size=321)


def test_after_a_refused_vocabulary_a_smaller_one_works_in_the_same_folder(dataset):
    with pytest.raises(UsageError, match="at most"):
        dataset(vocab_size=30_000)
    folder, manifest = dataset()
    manifest.verify(folder)


def explode(*_: object) -> None:
    raise TaleError("no room")


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    source = write_stories(tmp_path / "a.txt", make_stories(50))
    with pytest.raises(UsageError, match=r"holds other things \(a\.txt\)"):
        prepare(str(source), tmp_path, processes=1)
    with pytest.raises(UsageError, match="is a file"):
        prepare(str(source), source, processes=1)


def test_what_an_earlier_attempt_finished_is_kept_and_what_was_damaged_is_made_again(dataset, monkeypatch, tmp_path):
    folder, manifest = dataset()
    expected = bytes_of(folder)
    for file in folder.iterdir():
        file.rename(tmp_path / file.name)
    folder.rmdir()
    fail_at(monkeypatch, 4)
    with pytest.raises(TaleError, match="no room"):
        dataset()
    assert not (folder / "manifest.json").exists()
    finished = sorted(folder.glob("*.bin"))
    finished[0].write_bytes(b"damaged")
    with (folder / "ledger.jsonl").open("ab") as file:
        file.write(b'{"file": "train-0')
    times = [file.stat().st_mtime_ns for file in finished]
    monkeypatch.undo()
    assert dataset()[1] == manifest and bytes_of(folder) == expected
    assert [file.stat().st_mtime_ns == time for file, time in zip(finished, times, strict=True)] == [False, True, True]


def test_an_unfinished_dataset_of_a_source_that_changed_is_begun_anew(dataset, tmp_path, monkeypatch):
    fail_at(monkeypatch, 4)
    with pytest.raises(TaleError, match="no room"):
        dataset(count=300)
    monkeypatch.undo()
    folder, manifest = dataset(count=250)
    fresh = prepare(str(tmp_path / "stories.txt"), tmp_path / "fresh", vocab_size=320, processes=1, **TENTHS)
    assert fresh == manifest and bytes_of(tmp_path / "fresh") == bytes_of(folder)


def test_a_finished_shard_of_other_text_is_made_again(dataset, tmp_path, monkeypatch):
    fail_at(monkeypatch, 4)
    with pytest.raises(TaleError, match="no room"):
        dataset()
    monkeypatch.undo()
    ledger = tmp_path / "dataset" / "ledger.jsonl"
    pieces = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    changed = tmp_path / "dataset" / pieces[-1]["file"]
    changed.write_bytes(b"other")
    pieces[-1] |= {"text_sha256": "0" * 64, "sha256": hashlib.sha256(b"other").hexdigest()}
    ledger.write_text("".join(json.dumps(piece) + "\n" for piece in pieces), encoding="utf-8")
    folder, manifest = dataset()
    manifest.verify(folder)
    assert changed.read_bytes() != b"other"


def test_the_hash_of_a_task_tells_its_stories_and_whether_it_is_the_last(monkeypatch):
    def hashes(*stories: str) -> list[str]:
        return [task.text_sha256 for task in tasks_of(("train", story, story_digest(story)) for story in stories)]

    monkeypatch.setattr("tinytale.data.encoding.SHARD_BYTES", 1)
    assert len({*hashes("a"), *hashes("b"), *hashes("a", "b")}) == 3
    assert hashes("a", "b")[0] == hashes("a", "c")[0] != hashes("a")[0]


def fail_at(monkeypatch, turn: int) -> None:
    from tinytale import files

    turns = iter(range(1, 1000))
    write = files.write_bytes
    monkeypatch.setattr(
        "tinytale.data.prepare.write_bytes", lambda *given: explode() if next(turns) == turn else write(*given)
    )


SCRIPT = """
import sys
from pathlib import Path
from tinytale.data import encoding
from tinytale.data.prepare import prepare
encoding.SHARD_BYTES = 3000
prepare(sys.argv[1], Path(sys.argv[2]), vocab_size=320, processes=int(sys.argv[3]), dev_fraction=0.1, test_fraction=0.1)
"""


def run(source: Path, out: Path, processes: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-c", SCRIPT, str(source), str(out), str(processes)]
    return subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def test_killed_and_run_again_it_yields_the_same_bytes(dataset, tmp_path, count):
    dataset(count=1500, shard_bytes=3000)
    expected = bytes_of(tmp_path / "dataset")
    draw = random.Random(13)
    for kill in range(count(3, 20)):
        out, processes = tmp_path / f"killed-{kill}", 1 + kill % 2
        child = run(tmp_path / "stories.txt", out, processes)
        while child.poll() is None and not (out / "ledger.jsonl").exists():
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.6))
        child.kill()
        child.communicate()
        child = run(tmp_path / "stories.txt", out, processes)
        assert child.communicate() == (b"", b"") and child.returncode == 0
        assert bytes_of(out) == expected


def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    source = write_stories(tmp_path / "stories.txt", make_stories(10_000))
    child = run(source, tmp_path / "out", 2)
    while child.poll() is None and not list((tmp_path / "out").glob("*.bin")):
        time.sleep(0.001)
    assert child.poll() is None
    child.kill()
    child.communicate(timeout=10)  # ends when the last process that holds the pipes is gone


@pytest.mark.skipif(os.name == "nt", reason="signals of a terminal are sent differently on Windows")
@pytest.mark.parametrize("file", ["tokenizer.json", "train-00002.bin"])
def test_ctrl_c_leaves_what_is_finished(tmp_path, file):
    source = write_stories(tmp_path / "stories.txt", make_stories(6000))
    child = run(source, tmp_path / "out", 2)
    while child.poll() is None and not (tmp_path / "out" / file).exists():
        time.sleep(0.001)
    time.sleep(0.1)
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=20)
    assert child.returncode != 0 and errors.count(b"Traceback") == 1 and errors.strip().endswith(b"KeyboardInterrupt")
    assert not (tmp_path / "out" / "manifest.json").exists()
    child = run(source, tmp_path / "out", 2)
    assert child.communicate() == (b"", b"") and child.returncode == 0


def a_task(index: int) -> Task:
    return Task(split="train", index=index, stories=["a cat"], bytes=5, text_sha256="", last=False)


def test_a_killed_worker_fails_the_run(dataset):
    import multiprocessing

    def tasks():
        for index in range(100):
            if index == 4:
                for worker in multiprocessing.active_children():
                    worker.kill()
            yield a_task(index)

    folder, _ = dataset(count=60)
    with pytest.raises(TaleError, match="was killed or could not start"):
        list(encode_tasks(tasks(), folder / "tokenizer.json", 2))


@pytest.mark.parametrize("content", [b"", b"<|endoftext|>\n\n<|endoftext|>\n \t"])
@pytest.mark.parametrize("given", [False, True])
def test_no_stories_is_an_error_within_five_seconds(dataset, tmp_path, content, given):
    options = {"tokenizer": str(dataset(count=60)[0])} if given else {}
    (tmp_path / "a.txt").write_bytes(content)
    begin = time.monotonic()
    with pytest.raises(TaleError, match=r"a\.txt.*no stories to train on"):
        prepare(str(tmp_path / "a.txt"), tmp_path / "out", processes=2, **options)
    assert time.monotonic() - begin < 5 and not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"vocab_size": 256},
        {"stories": 0},
        {"processes": 0},
        {"dev_fraction": -0.1},
        {"dev_fraction": 0.6, "test_fraction": 0.4},
        {"dev_fraction": float("nan")},
    ],
)
def test_requests_out_of_range_are_refused_before_anything_is_written(dataset, tmp_path, options):
    with pytest.raises(UsageError):
        dataset(**options)
    assert not (tmp_path / "dataset").exists()


def test_after_a_refused_source_the_mended_one_works_in_the_same_folder(dataset, tmp_path):
    folder, manifest = dataset()
    source, out = tmp_path / "stories.jsonl", tmp_path / "out"
    good = b"".join(json.dumps({"text": story}).encode() + b"\n" for story in make_stories(300))
    options = {"tokenizer": str(folder), "processes": 1, "dev_fraction": 0.1, "test_fraction": 0.1}
    source.write_bytes(good * 3 + b"{}\n")
    with pytest.raises(TaleError, match=r"stories\.jsonl, line"):
        prepare(str(source), out, **options)
    assert len(list(out.glob("*.bin"))) > len(list(folder.glob("*.bin"))) and not (out / "manifest.json").exists()
    source.write_bytes(good)
    assert prepare(str(source), out, **options).splits == manifest.splits
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in folder.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit of a file's size")
def test_a_disk_that_refuses_is_one_line_and_leaves_no_half_file(tmp_path):
    import resource

    source = write_stories(tmp_path / "stories.txt", make_stories(3000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        with pytest.raises(TaleError, match=r"cannot write .*-00000\.bin: File too large") as refusal:
            prepare(str(source), tmp_path / "out", vocab_size=320, processes=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(refusal.value)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ledger.jsonl", "tokenizer.json"]
    prepare(str(source), tmp_path / "out", vocab_size=320, processes=1).verify(tmp_path / "out")


def test_standard_input(tmp_path, monkeypatch):
    import io

    text = "\n<|endoftext|>\n".join(make_stories(80)).encode()
    for _ in range(2):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        manifest = prepare("-", tmp_path / "out", vocab_size=280, processes=1, dev_fraction=0.0, test_fraction=0.0)
    assert stories_in(tmp_path / "out", "train") == make_stories(80)
    assert manifest.sources == [{"name": "-", "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}]
    assert not [path for path in (tmp_path / "out").iterdir() if "stdin" in path.name]


def test_progress_tells_what_is_done_and_how_much_there_is(dataset):
    calls: list[tuple] = []
    dataset(count=2500, progress=lambda *call: calls.append(call))
    assert list(dict.fromkeys(call[0] for call in calls)) == ["reading", "choosing", "tokenizer", "encoding"]
    encoding = [call[1:] for call in calls if call[0] == "encoding"]
    assert len(encoding) == 3 and encoding == sorted(encoding) and all(0 < done <= total for done, total in encoding)


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=40), st.integers(1, 200), st.randoms())
@settings(deadline=None, max_examples=80)
def test_the_sample_does_not_depend_on_the_order_and_is_bounded(stories, limit, draw):
    pairs = [(story, story_digest(story)) for story in stories]
    chosen = sample(pairs, limit)
    draw.shuffle(pairs)
    assert sample(pairs, limit) == chosen
    sizes = [len(story.encode()) for story in chosen]
    assert sum(sizes) <= limit or len(sizes) == 1
    assert len(chosen) == len(stories) or sum(len(story.encode()) for story in stories) > limit


@pytest.mark.slow
def test_real_tinystories(tmp_path):
    folder = os.environ.get("TINYSTORIES")
    if not folder:
        pytest.skip("TINYSTORIES does not name a folder with train.txt and valid.txt")
    out = tmp_path / "out"
    manifest = prepare(
        str(Path(folder) / "train.txt"),
        out,
        test=str(Path(folder) / "valid.txt"),
        stories=2000,
        vocab_size=2048,
        processes=2,
    )
    source = list(open_source(str(Path(folder) / "valid.txt")).stories())
    assert manifest.splits["test"].stories == 4457
    tokens, tokenizer = manifest.tokens(out, "test")[:100_000], load_tokenizer(out)
    assert "".join(source).startswith(tokenizer.decode(tokens))
    assert json.loads((out / "manifest.json").read_text(encoding="utf-8"))["settings"]["source"] == "train.txt"


def test_a_script_without_a_main_guard_prepares_a_small_text(tmp_path, monkeypatch):
    """A process that is spawned imports the script anew, and would prepare the same folder again."""
    source = write_stories(tmp_path / "stories.txt", make_stories(60))
    monkeypatch.setattr("tinytale.data.prepare.available_cores", lambda: 4)
    asked = []
    real = encode_tasks
    monkeypatch.setattr(
        "tinytale.data.prepare.encode_tasks", lambda *those: asked.append(those[2]) or real(*those[:2], 1)
    )
    prepare(str(source), tmp_path / "small", vocab_size=300)
    monkeypatch.setattr("tinytale.data.prepare.SHARD_BYTES", 1000)
    prepare(str(source), tmp_path / "large", vocab_size=300)
    assert asked == [1, 4]
