import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinytale.data.raw_files import ReadingOptions
from tinytale.data.splits import split_by_name
from tinytale.data.stories import BUILTIN_STORIES, Source, open_source, stories_of
from tinytale.errors import TaleError, UsageError


def read(path: Path, **options) -> list[str]:
    return list(open_source(str(path), options=ReadingOptions(**options)).stories())


def text(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_separator_lines_part_stories_and_blanks_around_them_go(tmp_path):
    content = b"\n one\ntwo \n<|endoftext|>\n\n \t<|endoftext|> \r\nthree\n  four\n<|endoftext|>"
    assert read(text(tmp_path / "a.txt", content)) == ["one\ntwo", "three\n  four"]


def test_a_file_without_separators_is_one_story(tmp_path):
    assert read(text(tmp_path / "a.txt", b"first line\n\nlast line\n")) == ["first line\n\nlast line"]


@pytest.mark.parametrize(
    ("content", "stories"),
    [
        (b"\xef\xbb\xbfOnce\n", ["Once"]),
        (b"a\r\nb\r\n<|endoftext|>\r\nc\r\n", ["a\nb", "c"]),
        (b"nul \x00 inside\n<|endoftext|>\n\x00", ["nul \x00 inside", "\x00"]),
        (b"she said <|endoftext|> aloud\n<|endoftext|> x\n", ["she said <|endoftext|> aloud\n<|endoftext|> x"]),
        (
            "Il était\n<|endoftext|>\n从前有一只猫\n<|endoftext|>\nكان يا ما كان 🦊".encode(),
            ["Il était", "从前有一只猫", "كان يا ما كان 🦊"],
        ),
        (b"a\xc2\xa0\n<|endoftext|>\nb", ["a\xa0", "b"]),
    ],
    ids=["bom", "crlf", "nul", "literal", "languages", "only plain blanks are stripped"],
)
def test_dirty_text_is_kept_as_it_is_but_for_line_ends(tmp_path, content, stories):
    assert read(text(tmp_path / "a.txt", content)) == stories


def test_an_empty_file_has_no_story(tmp_path):
    assert read(text(tmp_path / "a.txt", b"")) == []


def test_invalid_utf8_is_refused_with_file_and_line_or_replaced(tmp_path):
    path = text(tmp_path / "a.txt", b"one\n<|endoftext|>\ntwo\nthr\xffee\n")
    with pytest.raises(TaleError, match=r"a\.txt, line 4: byte 0xff is not UTF-8"):
        read(path)
    assert read(path, errors="replace") == ["one", "two\nthr�ee"]


def test_a_story_of_ten_megabytes(tmp_path):
    story = b"word " * 2_000_000
    assert [len(each) for each in read(text(tmp_path / "a.txt", story + b"\n<|endoftext|>\nshort"))] == [9_999_999, 5]


def test_text_is_read_as_utf8_whatever_the_locale_says(tmp_path):
    path = text(tmp_path / "a.txt", "Zoë’s café".encode())
    code = (
        "import locale, sys; assert locale.getpreferredencoding(False).lower() != 'utf-8', 'the locale is not odd';"
        "from tinytale.data.stories import open_source;"
        "sys.stdout.buffer.write(next(open_source(sys.argv[1]).stories()).encode('utf-8'))"
    )
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=environment, capture_output=True, check=False)
    assert (done.stdout.decode(), done.stderr) == ("Zoë’s café", b"")


def test_json_lines(tmp_path):
    lines = [{"text": " one\n", "id": 1}, {"text": "two"}, {"text": "  "}]
    path = text(tmp_path / "a.jsonl", b"\n\n".join(json.dumps(line).encode() for line in lines))
    assert read(path) == ["one", "two"]
    assert read(text(tmp_path / "b.jsonl", b'\xef\xbb\xbf{"story": "x"}'), field="story") == ["x"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": ', "line 2: expected one JSON object"),
        (b'["text"]', "line 2: expected a JSON object"),
        (
            b'{"story": "x", "n": 1}',
            r"line 2: no text in field 'text'; name one with --field \(fields with text: story\)",
        ),
        (b'{"text": 5}', r"line 2: no text in field 'text'.*none"),
        (b'{"text": "\\ud800"}', "line 2: the story holds half a character"),
        (b'{"text": "\xff"}', "line 2: byte 0xff"),
        (b"[" * 100_000, "line 2: expected one JSON object"),
    ],
)
def test_bad_json_lines_are_refused_with_file_and_line(tmp_path, line, message):
    path = text(tmp_path / "a.jsonl", b'{"text": "good"}\n' + line + b"\n")
    with pytest.raises(TaleError, match=message) as refusal:
        read(path)
    assert str(path) in str(refusal.value)


def test_parquet(tmp_path):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"text": [" one", None, "two 🦊"] * 1000, "n": [1, 2, 3] * 1000})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=700)
    assert read(tmp_path / "a.parquet") == ["one", "two 🦊"] * 1000
    with pytest.raises(
        TaleError, match=r"a\.parquet: no column 'story' of text; name one with --field \(there: text\)"
    ):
        read(tmp_path / "a.parquet", field="story")
    assert (open_source(str(tmp_path / "a.parquet")).text_bytes or 0) > 0


def test_damaged_parquet_is_refused(tmp_path):
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    bad = pyarrow.StringArray.from_buffers(1, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0"), pyarrow.py_buffer(b"\xff"))
    pyarrow.parquet.write_table(pyarrow.table({"text": bad}), path)
    with pytest.raises(TaleError, match="row 1: not UTF-8"):
        read(path)
    assert read(path, errors="replace") == ["�"]
    with pytest.raises(TaleError, match=r"b\.parquet cannot be read as Parquet"):
        read(text(tmp_path / "b.parquet", path.read_bytes()[:-9]))


def test_a_folder_is_its_files_by_name_and_test_files_are_told_apart(tmp_path):
    for name in ("b.txt", "a.TXT", "my-valid.txt", "notes.md"):
        text(tmp_path / name, name.encode())
    source = open_source(str(tmp_path))
    assert [list(stories_of(parts)) for parts in (source.train, source.test)] == [["a.TXT", "b.txt"], ["my-valid.txt"]]
    assert list(open_source(str(tmp_path / "[ab].*")).stories()) == ["a.TXT", "b.txt"]


@pytest.mark.parametrize(
    ("split", "names"),
    [
        (
            "test",
            ["valid", "TinyStoriesV2-GPT4-valid", "validation-00000-of-00001", "my_test", "evalSet", "test-train"],
        ),
        ("train", ["train", "train-00000-of-00004", "TinyStories-train"]),
        (None, ["contest", "invalid", "latest", "medieval", "stories", "trained"]),
    ],
)
def test_names_tell_the_split(split, names: list[str]):
    assert {name: split_by_name(name) for name in names} == dict.fromkeys(names, split)


def test_mixed_kinds_are_refused_with_what_to_type(tmp_path):
    text(tmp_path / "a.txt", b"x"), text(tmp_path / "b.jsonl", b"{}")
    with pytest.raises(UsageError, match=r"mixes \.jsonl and \.txt files.*\*\.jsonl' or .*\*\.txt'"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("name", ["nothing.txt", "*.txt", "empty", "odd.html", "only_test"])
def test_what_is_no_source_is_refused_at_once(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "only_test").mkdir()
    text(tmp_path / "only_test" / "test.txt", b"x")
    text(tmp_path / "odd.html", b"x")
    begin = time.monotonic()
    with pytest.raises(UsageError, match=name.replace("*", r"\*")):
        open_source(str(tmp_path / name))
    assert time.monotonic() - begin < 5


def test_an_unreadable_file_is_named(tmp_path):
    source = open_source(str(text(tmp_path / "a.txt", b"x")))
    (tmp_path / "a.txt").unlink()
    for use in (source.fingerprint, lambda: source.text_bytes, lambda: list(source.stories())):
        with pytest.raises(TaleError, match=r"cannot read .*a\.txt"):
            use()


def test_standard_input_is_kept_for_several_readings(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\n<|endoftext|>\ntwo")))
    source = open_source("-", spool=tmp_path / "new" / "stdin.txt")
    assert [list(source.stories()) for _ in range(2)] == [["one", "two"]] * 2
    assert source.fingerprint()[0]["name"] == "-"
    with pytest.raises(UsageError, match="standard input"):
        open_source("-")


def test_builtin():
    assert len(list(open_source("builtin", stories=30).stories())) == 30
    source = open_source("builtin")
    assert isinstance(source, Source) and str(BUILTIN_STORIES) in source.train[0].name
    assert (
        open_source("builtin", stories=30).fingerprint() != source.fingerprint() == open_source("builtin").fingerprint()
    )


def test_fingerprints_tell_content_not_place(tmp_path):
    (tmp_path / "b").mkdir()
    one = open_source(str(text(tmp_path / "a.txt", b"same"))).fingerprint()
    assert one == open_source(str(text(tmp_path / "b" / "a.txt", b"same"))).fingerprint()
    assert one != open_source(str(text(tmp_path / "b" / "a.txt", b"else"))).fingerprint()
    assert one[0]["bytes"] == 4
