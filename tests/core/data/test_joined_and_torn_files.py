"""Texts as other tools' bug reports have them: joined files with marks, torn files, tables with commas in a text."""

import bz2
import gzip
import lzma
from pathlib import Path

import pytest

from tinytale.data.raw_files import ReadingOptions
from tinytale.data.stories import open_source
from tinytale.errors import TaleError, UsageError

MARK = "\ufeff"


def read(tmp_path: Path, name: str, content: bytes | str, **options) -> list[str]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(open_source(str(path), options=ReadingOptions(**options)).stories())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", f"{MARK}one\n<|endoftext|>\n{MARK}two\n{MARK}<|endoftext|>\nthree"),
        ("a.jsonl", f'{MARK}{{"text": "one"}}\n{MARK}{{"text": "two"}}\n{MARK}{{"text": "three"}}'),
        ("a.csv", f"{MARK}text\none\n{MARK}two\n{MARK}three\n"),
    ],
)
def test_marks_of_files_that_were_joined_are_no_text(tmp_path, name, content):
    assert read(tmp_path, name, content) == ["one", "two", "three"]


@pytest.mark.parametrize("encoding", ["utf-32", "utf-16"])
def test_the_mark_of_utf32_is_not_taken_for_that_of_utf16(tmp_path, encoding):
    assert read(tmp_path, "a.txt", "A fox ran.".encode(encoding)) == ["A fox ran."]


@pytest.mark.parametrize("content", [b"A fox.\nA hen.\n" + bytes(4096), "A fox.\n".encode("utf-32-le")])
def test_what_a_crash_has_torn_is_refused_with_its_line(tmp_path, content):
    line = content.count(b"\n", 0, content.index(b"\0")) + 1
    with pytest.raises(TaleError, match=rf"line {line}: holds a row of NULs.*tr -d"):
        read(tmp_path, "a.txt", content)
    assert read(tmp_path, "a.txt", content, errors="replace")
    assert read(tmp_path, "a.txt", "A\0fox.") == ["A\0fox."]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (bz2.compress(b"A fox."), "bunzip2"),
        (lzma.compress(b"A fox."), "unxz"),
        (b"\x28\xb5\x2f\xfd and more", "unzstd"),
        (b"<!DOCTYPE html><title>404</title>", "web page"),
    ],
)
def test_what_was_packed_or_is_a_page_of_an_error_is_called_so(tmp_path, content, told):
    with pytest.raises(TaleError, match=told):
        read(tmp_path, "a.txt", content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (gzip.compress(b"A fox.", mtime=0), r"compressed with gzip; unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer"),
        (b"A fox.", r"expected a file named \*\.txt"),
    ],
)
def test_a_file_of_no_known_name_is_looked_at_before_it_is_refused(tmp_path, content, told):
    with pytest.raises(UsageError, match=told):
        read(tmp_path, "train.txt.gz", content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id,text\n1,A fox, a hen.\n", "line 2: 3 fields, but 2 columns; expected double quotes"),
        ("text,text\none,two\n", "line 1: several columns are called 'text'"),
        ('id,text\n1,"a\nb"\n2,"a \\"b\\" c"\n', "line 4: not a table"),
    ],
)
def test_a_table_that_would_lose_text_is_refused_where_it_begins_to(tmp_path, content, told):
    with pytest.raises(TaleError, match=told):
        read(tmp_path, "a.csv", content)


@pytest.mark.parametrize(
    ("content", "stories"),
    [
        ("id;text\n1;A fox, a hen.\n2;Two\n", ["A fox, a hen.", "Two"]),
        ("text\nA fox; a hen.\n", ["A fox; a hen."]),
        ("text;by,date\none,1\n", None),
        ("text,id,\nA fox,1,,,\n\nTwo\n", ["A fox", "Two"]),
    ],
)
def test_semicolons_part_columns_where_no_comma_does(tmp_path, content, stories):
    if stories is None:
        with pytest.raises(TaleError, match="no text in field 'text'"):
            read(tmp_path, "a.csv", content)
    else:
        assert read(tmp_path, "a.csv", content) == stories


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", "{}"), ("a.json", "[{}]")])
def test_a_field_that_is_there_twice_is_refused_and_others_may_be(tmp_path, name, content):
    with pytest.raises(TaleError, match="'text' stands in it 2 times"):
        read(tmp_path, name, content.replace("{}", '{"text": "one", "text": "two"}'))
    with pytest.raises(TaleError, match="'b' stands in it 2 times"):
        read(tmp_path, name, content.replace("{}", '{"a": {"b": "one", "b": "two"}}'), field="a.b")
    assert read(tmp_path, name, content.replace("{}", '{"by": 1, "text": "one", "by": 2}')) == ["one"]
