import os
from pathlib import Path

import pytest

from tinytale.errors import TaleError
from tinytale.files import PARTIAL, read_json, sha256_of, write_bytes, write_json, write_text


def test_what_is_written_is_read_back(tmp_path: Path):
    write_json(tmp_path / "deep" / "a.json", {"b": "ö\n", "a": [1, None]})
    assert read_json(tmp_path / "deep" / "a.json") == {"b": "ö\n", "a": [1, None]}
    assert (tmp_path / "deep" / "a.json").read_bytes().startswith('{\n  "b": "ö'.encode())


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
    monkeypatch.setattr(Path, "replace", lambda self, to: (events.append(f"rename {self.name}"), replace(self, to)))
    write_bytes(tmp_path / "a", b"x")
    assert events == ["sync", f"rename a{PARTIAL}", *(["sync"] if os.name != "nt" else [])]


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
