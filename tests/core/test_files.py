import contextlib
import errno
import os
import stat
from pathlib import Path

import pytest

from tinytale.errors import TaleError
from tinytale.files import PARTIAL, read_json, sha256_of, write_bytes, write_json, write_text, written_whole


def test_what_is_written_is_read_back(tmp_path: Path):
    write_json(tmp_path / "deep" / "a.json", {"b": "ö\n", "a": [1, None]})
    assert read_json(tmp_path / "deep" / "a.json") == {"b": "ö\n", "a": [1, None]}
    assert (tmp_path / "deep" / "a.json").read_bytes().startswith('{\n  "b": "ö'.encode())


def test_the_mark_that_some_editors_put_before_json_is_no_damage(tmp_path: Path):
    (tmp_path / "a.json").write_text('{"a": 1}', encoding="utf-8-sig")
    assert read_json(tmp_path / "a.json") == {"a": 1}


def test_sha256_is_the_standard_one(tmp_path: Path):
    write_text(tmp_path / "a", "abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.open"])
def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str):
    path = tmp_path / "a"
    write_text(path, "old")

    def full(*_: object, **__: object):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(TaleError, match=r"cannot write .*a: No space left"):
        patch.setattr(call, full)
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_the_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("sync"), fsync(descriptor)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (events.append(f"rename to {to.name}"), replace(self, to)))
    write_bytes(tmp_path / "a", b"x")
    assert events == ["sync", "rename to a", *(["sync"] if os.name != "nt" else [])]


@pytest.mark.skipif(os.name == "nt", reason="folders are not synced there")
@pytest.mark.parametrize(("number", "said"), [(errno.EINVAL, ""), (errno.EIO, "it has been replaced")])
def test_a_disk_that_cannot_sync_folders_is_written_and_one_that_fails_to_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
):
    fsync = os.fsync

    def refusing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)
    with pytest.raises(TaleError, match=said) if said else contextlib.nullcontext():
        write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"


def test_two_may_write_one_file_at_once(tmp_path: Path):
    with written_whole(tmp_path / "a") as one, written_whole(tmp_path / "a") as other:
        one.write_text("1" * 9)
        other.write_text("2" * 5)
    assert (tmp_path / "a").read_text() == "1" * 9 and len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_process_left_behind_goes_with_the_next_write_once_it_is_old(tmp_path: Path):
    left = [tmp_path / f"a.{name}{PARTIAL}" for name in ("old", "new")]
    for path in left:
        path.write_text("half")
    os.utime(left[0], (0, 0))
    write_text(tmp_path / "a", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a", left[1].name}


def test_a_lone_surrogate_is_written_as_jsons_own_escape(tmp_path: Path):
    write_json(tmp_path / "a", {"name": "m\udce4rchen", "ö": 1})
    assert b"m\\udce4rchen" in (tmp_path / "a").read_bytes()
    assert read_json(tmp_path / "a") == {"name": "m\udce4rchen", "ö": 1}


def test_a_folder_where_a_file_stands_in_the_way_is_an_error_of_ours(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TaleError, match="cannot write"):
        write_text(tmp_path / "file" / "inside", "text")


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff", b"9" * 5000, b"[" * 100_000])
def test_a_file_that_is_not_json_is_refused_by_name(tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(TaleError, match=r"a\.json"):
        read_json(tmp_path / "a.json")
