"""What people really have: other encodings, line ends, pointers, archives, nulls, pipes; none goes in silence."""

import json
import os
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tinytale.addons.survey.survey import survey
from tinytale.data import formats, raw_files
from tinytale.data.formats import KINDS
from tinytale.data.prepare import prepare
from tinytale.data.raw_files import ReadingOptions
from tinytale.data.shards import Manifest
from tinytale.data.stories import open_source, stories_of
from tinytale.errors import TaleError, UsageError
from tinytale.lock import held

STORIES = [f"Tale {number}: the fox met {number} hens.\nThey all went home." for number in range(60)]
JOINED = "\n<|endoftext|>\n".join(STORIES)


def read(path: Path, **options) -> list[str]:
    return list(open_source(str(path), options=ReadingOptions(**options)).stories())


def prepared(source: Path | str, out: Path, **options) -> tuple[Manifest, str]:
    """The manifest, and all that was said."""
    said: list[str] = []
    reading = {name: options.pop(name) for name in list(options) if name in ReadingOptions.__dataclass_fields__}
    options = {"vocab_size": 280, "processes": 1, "dev_fraction": 0.1, "test_fraction": 0.1} | options
    manifest = prepare(str(source), out, options=ReadingOptions(**reading), say=said.append, **options)
    return manifest, "\n".join(said)


def count(manifest: Manifest) -> int:
    return sum(split.stories for split in manifest.splits.values())


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def tales(tmp_path: Path) -> Path:
    """A folder with a file for each story."""
    for number, story in enumerate(STORIES):
        write(tmp_path / "tales" / f"tale-{number:02}.txt", story)
    return tmp_path / "tales"


def test_ordinary_text_is_remarked_upon_in_no_way(tmp_path):
    manifest, said = prepared(write(tmp_path / "a.txt", JOINED), tmp_path / "out")
    assert (said, manifest.noticed, "noticed" in manifest.to_json()) == ("", {}, False)


def test_a_file_that_is_test_by_its_name_is_named(tales, tmp_path):
    write(tales / "A Test of Courage.txt", "A boy was brave.")
    manifest, said = prepared(tales, tmp_path / "out")
    assert manifest.splits["test"].stories == 1 and "A Test of Courage.txt" in said and "rename" in said


def test_what_a_folder_holds_beside_its_stories_is_listed(tales, tmp_path):
    write(tales / "grimm" / "one.txt", "x"), write(tales / "._tale-00.txt", b"\0\5\x16\7\0\2 AppleDouble")
    write(tales / "a.pdf", b"%PDF-1.4"), write(tales / "empty.txt", b""), write(tales / "README.md", "# about")
    manifest, said = prepared(tales, tmp_path / "out")
    assert count(manifest) == 60
    assert "Read: 60 .txt" in said and "1 .md, 1 .pdf, 1 empty, 1 folder, 1 hidden" in said
    assert f"'{tales}/**/*.txt'" in said
    assert len(read(Path(f"{tales}/**/*.txt"))) == 61


def test_stories_in_subfolders_alone_are_refused_with_the_pattern(tales):
    with pytest.raises(UsageError, match=r"subfolders are not read: type '.*/\*\*/\*\.txt'"):
        open_source(str(tales.parent))


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_not_utf8_is_escaped(tales, tmp_path):
    (tales / "tale-07.txt").rename(os.fsdecode(os.fsencode(tales) + b"/m\xe4rchen.txt"))
    manifest, _ = prepared(tales, tmp_path / "out")
    assert r"m\xe4rchen.txt" in [source["name"] for source in Manifest.load(tmp_path / "out").sources]
    assert count(manifest) == 60
    write(tales / "tale-01.txt", b"\xff")
    (tales / "tale-01.txt").rename(os.fsdecode(os.fsencode(tales) + b"/b\xe4d.txt"))
    with pytest.raises(TaleError, match=r"b\\xe4d\.txt, line 1"):
        read(tales)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_refused_and_read_where_named(tmp_path, encoding):
    path = write(tmp_path / "a.txt", JOINED.encode(encoding))
    for errors in ("strict", "replace"):
        with pytest.raises(TaleError, match="looks like UTF-16 without a byte order mark; give --encoding utf-16-le"):
            read(path, errors=errors)
    assert read(path, encoding=encoding) == read(path, encoding="auto") == STORIES


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_believed(tmp_path, encoding):
    assert read(write(tmp_path / "a.txt", JOINED.encode(encoding))) == STORIES
    lines = "".join(json.dumps({"text": story}) + "\n" for story in STORIES)
    assert read(write(tmp_path / "a.jsonl", lines.encode(encoding))) == STORIES


@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_line_ends_of_other_systems_become_ours_and_are_counted(tmp_path, end):
    path = write(tmp_path / "a.txt", JOINED.replace("\n", end))
    assert read(path) == STORIES
    _, said = prepared(path, tmp_path / "out")
    assert said == "1 file with line ends \\r\\n or \\r: they are read as \\n."
    assert read(write(tmp_path / "a.jsonl", json.dumps({"text": f"a{end}b"}))) == ["a\nb"]


def test_separators_inside_lines_are_counted_and_can_part_stories(tmp_path):
    path = write(tmp_path / "a.txt", "<|endoftext|>".join(STORIES))
    manifest, said = prepared(path, tmp_path / "out", dev_fraction=0.0, test_fraction=0.0)
    assert manifest.noticed == {formats.INSIDE_LINES: 59} and Manifest.load(tmp_path / "out") == manifest
    assert "59 times inside a line" in said and "--split-at '<|endoftext|>'" in said and "is one story" in said
    assert read(path, split_at="<|endoftext|>") == STORIES


def test_one_text_can_be_cut_at_blank_lines(tmp_path):
    path = write(tmp_path / "a.txt", "\n\n \n".join(STORIES))
    _, said = prepared(path, tmp_path / "one", dev_fraction=0.0, test_fraction=0.0)
    assert "whole text is one story" in said and "--split-at blank-line" in said
    manifest, said = prepared(path, tmp_path / "cut", split_at="blank-line")
    assert count(manifest) == 60 and "one story" not in said
    with pytest.raises(UsageError, match="made by another request"):
        prepared(path, tmp_path / "cut")
    with pytest.raises(UsageError, match="--split-at is for text files"):
        read(write(tmp_path / "a.jsonl", "{}"), split_at="blank-line")
    for wrong in ("", "a\nb"):
        with pytest.raises(UsageError, match="--split-at is"):
            ReadingOptions(split_at=wrong)


def test_nulls_are_left_out_and_counted_in_every_format(tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [{"text": None if number == 31 else story} for number, story in enumerate(STORIES)]
    expected = STORIES[:31] + STORIES[32:]
    write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write(tmp_path / "a.json", json.dumps(rows))
    pyarrow.parquet.write_table(pyarrow.table({"text": [row["text"] for row in rows]}), tmp_path / "a.parquet")
    for kind in ("jsonl", "json", "parquet"):
        noticed = Counter()
        assert list(stories_of(open_source(str(tmp_path / f"a.{kind}")).train, noticed)) == expected
        assert noticed == {formats.NULLS: 1}
    manifest, said = prepared(tmp_path / "a.jsonl", tmp_path / "out")
    assert manifest.noticed == {formats.NULLS: 1} and "Records without a text (null), left out: 1." in said


def test_every_type_of_text_in_parquet_is_read_and_others_are_named(tmp_path):
    import pyarrow
    import pyarrow.parquet

    path, strings = tmp_path / "a.parquet", pyarrow.array(["one", None, "two", "one", ""])
    for kind in (pyarrow.string(), pyarrow.large_string(), pyarrow.string_view(), "categorical"):
        column = strings.dictionary_encode() if kind == "categorical" else strings.cast(kind)
        pyarrow.parquet.write_table(pyarrow.table({"text": column}), path)
        assert read(path) == ["one", "two", "one"], kind
    pyarrow.parquet.write_table(pyarrow.table({"text": strings.cast(pyarrow.binary()), "b": strings}), path)
    with pytest.raises(TaleError, match=r"no column 'text' of text.*\(there: b\); 'text' holds binary"):
        read(path)


CHAT = {"messages": [{"role": "user", "content": "Tell."}, {"role": "assistant", "content": [{"text": "Once."}]}]}


@pytest.mark.parametrize(
    ("record", "field", "story"),
    [
        (CHAT, "messages", "Tell.\nOnce."),
        ({"messages": CHAT["messages"][:1]}, "messages.content", "Tell."),
        ({"data": {"body": "x"}}, "data.body", "x"),
        ({"data.body": "x"}, "data.body", "x"),
        ({"conversations": [{"from": "human", "value": "x"}]}, "conversations", "x"),
    ],
)
def test_dotted_fields_and_chats(tmp_path, record, field, story):
    import pyarrow
    import pyarrow.parquet

    assert read(write(tmp_path / "a.jsonl", json.dumps(record)), field=field) == [story]
    if record is not CHAT:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([record]), tmp_path / "a.parquet")
        assert read(tmp_path / "a.parquet", field=field) == [story]


@pytest.mark.parametrize(
    ("name", "content", "stories"),
    [
        ("a.csv", 'id,text\r\n1,"a ""b"",\r\nc"\r\n2,d\r\n', ['a "b",\nc', "d"]),
        ("a.tsv", "text\tid\na, b\t1\n", ["a, b"]),
        ("a.json", '[{"text": "a"},\n {"text": "b"}]', ["a", "b"]),
        ("a.json", '{"text": "a"}\n{"text": "b"}\n', ["a", "b"]),
        ("a.md", "# a\n<|endoftext|>\nb", ["# a", "b"]),
    ],
)
def test_other_kinds_of_file(tmp_path, name, content, stories):
    assert read(write(tmp_path / name, content)) == stories


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            "id,story\n1,x\n",
            r"line 2: no text in field 'text'; name one with --field \(fields with text: id, s",
        ),
        ("a.csv", 'text\n"open', "line 2: not a table as CSV has it"),
        ("a.json", '[{"text": ', "expected one JSON array of objects"),
        ("a.json", '["x"]', "item 0: expected a JSON object"),
        ("a.jsonl", '{"text": ' + "[" * 400 + "]" * 400 + "}", "no text in field 'text'"),
        ("a.jsonl", json.dumps({f"f{n}": "x" for n in range(5000)}), r"f0, f1.* and 4,992 more\)$"),
    ],
)
def test_damaged_records_are_refused_in_one_short_line(tmp_path, name, content, message):
    with pytest.raises(TaleError, match=message) as refusal:
        read(write(tmp_path / name, content))
    assert len(str(refusal.value)) < 400


POINTER = (
    "version https://git-lfs.github.com/spec/v1\noid sha256:4665a5ea423c2713d436b5ee50593a9640e0018c1550b5a0\nsize 9\n"
)


@pytest.mark.parametrize("suffix", KINDS)
def test_a_git_lfs_pointer_is_called_so(tmp_path, suffix):
    with pytest.raises(TaleError, match=r"Git LFS pointer.*git lfs pull"):
        read(write(tmp_path / f"a{suffix}", POINTER))


@pytest.mark.parametrize("begin", raw_files.NO_TEXT)
def test_what_is_no_text_is_refused_whatever_its_name_and_the_errors_say(tmp_path, begin):
    with pytest.raises(TaleError, match=r"a\.txt is "):
        read(write(tmp_path / "a.txt", begin + b" and more"), errors="replace")


def test_all_bad_files_are_listed_at_once_and_can_be_read_as_what_they_are(tales, tmp_path):
    for number in range(12):
        write(tales / f"tale-{number:02}.txt", f"Der Bär Nummer {number} fraß süßen Honig.".encode("cp1252"))
    with pytest.raises(
        TaleError, match=r"12 of 60 files.*tale-00\.txt, line 1: byte 0xe4.*tale-07.*4 more; give --enc"
    ):
        read(tales)
    manifest, said = prepared(tales, tmp_path / "replaced", errors="replace")
    assert sum(manifest.noticed.values()) == 48 and "in place of bytes: 48" in said and "--encoding" in said
    replaced = [split["replaced"]["count"] for split in survey(tmp_path / "replaced")["splits"].values()]
    assert sum(replaced) == 12
    assert read(tales, encoding="cp1252") == read(tales, encoding="auto")
    assert read(tales, encoding="auto")[3] == "Der Bär Nummer 3 fraß süßen Honig."
    assert "12 files taken for cp1252" in prepared(tales, tmp_path / "auto", encoding="auto")[1]


def test_auto_does_not_take_every_script_for_a_western_one(tmp_path):
    path = write(tmp_path / "a.txt", ("Жили-были старик со старухой. " * 9).encode("cp1251"))
    with pytest.raises(TaleError, match="--encoding auto cannot tell"):
        read(path, encoding="auto")
    assert read(path, encoding="cp1251")[0].startswith("Жили-были")
    for wrong in ("klingon", "rot13", "base64"):
        with pytest.raises(UsageError, match="expected auto, or an encoding"):
            ReadingOptions(encoding=wrong)


def test_duplicates_are_spoken_of_where_a_split_is_empty(tmp_path):
    path = write(tmp_path / "a.txt", "\n<|endoftext|>\n".join(STORIES[:5] * 40))
    manifest, said = prepared(path, tmp_path / "out", dev_fraction=0.001, test_fraction=0.001)
    assert sum(manifest.noticed.values()) == 195
    assert "Stories that repeat an earlier one word for word: 195" in said
    assert "splits dev and test came out empty, as may be with 5 different stories" in said


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_read_once_and_used_often(tmp_path):
    os.mkfifo(tmp_path / "stories.txt")
    writer = threading.Thread(target=(tmp_path / "stories.txt").write_text, args=(JOINED,))
    writer.start()
    manifest, _ = prepared(tmp_path / "stories.txt", tmp_path / "out")
    writer.join()
    assert count(manifest) == 60 and manifest.sources[0]["name"] == "stories.txt"
    assert not list((tmp_path / "out").glob("*.partial"))


def test_a_story_is_bounded_before_it_takes_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(raw_files, "MOST_BYTES", 1000)
    monkeypatch.setattr(formats, "MOST_BYTES", 1000)
    for name, content in {
        "line.txt": "x" * 5000,
        "lines.txt": "word word\n" * 500,
        "line.jsonl": json.dumps({"text": "x" * 5000}),
    }.items():
        with pytest.raises(TaleError, match=r"longer than .* MiB; cut the text into stories.*--split-at"):
            read(write(tmp_path / name, content))


def test_a_parquet_file_of_a_few_bytes_does_not_become_gigabytes(tmp_path):
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    large = pyarrow.DictionaryArray.from_arrays([0] * 1000, ["a" * 2**20])
    pyarrow.parquet.write_table(pyarrow.table({"text": large}), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 2000
    usual = pyarrow.default_memory_pool()
    pool = pyarrow.proxy_memory_pool(usual)
    pyarrow.set_memory_pool(pool)
    try:
        assert sum(1 for _ in open_source(str(path)).stories()) == 1000
    finally:
        pyarrow.set_memory_pool(usual)
    assert 2**20 <= pool.max_memory() < 2**25


def test_one_prepare_at_a_time_in_a_folder(tmp_path):
    source = write(tmp_path / "a.txt", JOINED)
    with held(tmp_path / "out"), pytest.raises(TaleError, match=r"out is being prepared by process \d+"):
        prepared(source, tmp_path / "out")
    assert count(prepared(source, tmp_path / "out")[0]) == 60
    assert not (tmp_path / "out" / "train.lock").exists()


def test_a_prepared_dataset_can_be_checked_on_a_disk_that_takes_nothing(tmp_path, monkeypatch):
    source = write(tmp_path / "a.txt", JOINED)
    first, _ = prepared(source, tmp_path / "out")
    monkeypatch.setattr("tinytale.data.prepare.held", None)
    assert prepared(source, tmp_path / "out") == (
        first,
        f"{tmp_path / 'out'} is prepared already; every file in it is as it was written",
    )


def test_a_dataset_whose_manifest_speaks_of_another_tokenizer_is_not_trained_on(tmp_path):
    from tinytale.training.session import Dataset

    manifest, _ = prepared(write(tmp_path / "a.txt", JOINED), tmp_path / "out")
    Dataset(tmp_path / "out")
    for wrong in ({"vocab_size": manifest.vocab_size + 1}, {"end_of_text": manifest.end_of_text + 1}):
        replace(manifest, **wrong).save(tmp_path / "out")
        with pytest.raises(TaleError, match=r"its tokenizer\.json of .*prepare the dataset again"):
            Dataset(tmp_path / "out")


def test_what_is_typed_wrong_is_usage_and_only_what_can_be_trained_is_advised(tale, tmp_path):
    path = write(tmp_path / "a.txt", JOINED)
    for option in (("--encoding", "klingon"), ("--split-at", " ")):
        ended = tale("prepare", path, "--out", tmp_path / "out", *option)
        assert ended.code == 2 and f"{option[0]} is" in ended.err and not (tmp_path / "out").exists()
    ended = tale("prepare", write(tmp_path / "b.txt", "One text."), "--out", tmp_path / "one", "--vocab-size", 257)
    assert ended.code == 0 and "--split-at blank-line" in ended.err and "Next: tinytale train" not in ended.err
