"""The verified download, the real client and a stand-in for the Hub: verified data or one line, never half a set."""

import contextlib
import errno
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest

from tinytale.addons.hub import client as hub_client
from tinytale.addons.hub import source as hub
from tinytale.addons.hub.source import HubFile, download, resolve
from tinytale.console import progress_bar
from tinytale.errors import TaleError, UsageError

SPEC = importlib.util.spec_from_file_location("hub_server", Path(__file__).with_name("hub_server.py"))
hub_server = importlib.util.module_from_spec(SPEC)
sys.modules["hub_server"] = hub_server
SPEC.loader.exec_module(hub_server)

REPO = "owner/tales"
TRAIN = "data/train-00000-of-00001.parquet"
TEST = "data/validation-00000-of-00001.parquet"
SMALL = "stories.txt"


def parquet(stories: list[str]) -> bytes:
    sink = BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": stories}), sink, compression="none")
    return sink.getvalue()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """A repository: real Parquet of 3 MB and of some hundred rows, and files that nobody should fetch."""
    dice = random.Random(5)
    return {
        ".gitattributes": b"*.parquet filter=lfs\n",
        "README.md": b"# Tales\n",
        "LICENSE.txt": b"free",
        TRAIN: parquet([dice.randbytes(1500).hex() for _ in range(1000)]),
        TEST: parquet([f"Once upon a time there were {n} cats.\n" for n in range(300)]),
        SMALL: b"Once.\n<|endoftext|>\nTwice.\n",
        "all.tar.gz": b"\x1f\x8b" * 9000,
    }


@pytest.fixture
def server(files: dict[str, bytes]) -> Iterator["hub_server.HubServer"]:
    with hub_server.HubServer() as server:
        server.commit(REPO, files)
        yield server


@pytest.fixture
def client(server: "hub_server.HubServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The client in this process, as its environment variables would have set it; waits cost no time."""
    from huggingface_hub import constants

    home = tmp_path / "home"
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(home / "assets"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return SimpleNamespace(home=home, go_offline=lambda: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True))


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    """Close the client's connections in the end; it keeps them for as long as the process lives."""
    from huggingface_hub.utils import close_session

    yield
    close_session()


def contents(fetched: list[tuple[HubFile, Path]]) -> dict[str, bytes]:
    return {file.path: path.read_bytes() for file, path in fetched}


def leftovers(home: Path) -> list[Path]:
    return list(home.rglob("*.incomplete"))


DRIVER = """
import json, sys, time
time.sleep = lambda seconds: None
from tinytale.addons.hub.source import download, resolve
from tinytale.errors import TaleError
limit = int(sys.argv[2])
if limit:
    import resource, shutil
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
if len(sys.argv) > 3:
    import collections, shutil
    shutil.disk_usage = lambda path: collections.namedtuple("usage", "free")(10**12)
try:
    source = resolve(sys.argv[1])
    print(json.dumps([source.revision, {file.path: str(path) for file, path in download(source)}]))
except TaleError as error:
    sys.exit(f"TaleError: {error}")
"""


def run(
    server: "hub_server.HubServer", home: Path, spec: str, *more: str, **variables: str
) -> subprocess.CompletedProcess:
    """Resolve and download in a process of its own, configured by nothing but the environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = kept | {"HF_ENDPOINT": server.url, "HF_HOME": str(home)} | variables
    command = [sys.executable, "-W", "error", "-c", DRIVER, spec, *(more or ("0",))]
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=60)


def test_a_whole_download_verified_and_then_used_again_without_the_network(server, files, tmp_path):
    done = run(server, tmp_path, f"hub:{REPO}")
    assert done.returncode == 0, done.stderr
    revision, paths = json.loads(done.stdout)
    assert revision == server.repositories[REPO].branches["main"]
    assert {path: Path(place).read_bytes() for path, place in paths.items()} == {p: files[p] for p in (TRAIN, TEST)}
    assert f"main is commit {revision}" in " ".join(done.stderr.split())
    assert len(server.bodies()) == 2, "two files and nothing else"

    server.requests.clear()
    again = run(server, tmp_path, f"hub:{REPO}", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == [revision, paths]
    assert server.requests == []


def test_ten_cut_connections_are_resumed_where_they_broke(server, tmp_path):
    long = parquet([random.Random(6).randbytes(6 * 2**20).hex()])
    server.commit("owner/long", {TRAIN: long})
    server.cuts, server.cut_after = 10, 2**20 + 1000
    done = run(server, tmp_path, "hub:owner/long")
    assert done.returncode == 0, done.stderr
    [path] = json.loads(done.stdout)[1].values()
    assert Path(path).read_bytes() == long
    assert server.cuts == 0
    starts = [r.range and int(r.range.removeprefix("bytes=").split("-")[0]) for r in server.bodies()]
    assert starts == [None, *(n * 2**20 for n in range(1, 11))]
    assert len(done.stderr.split("\n\n")[0].splitlines()) == 2, (
        "what is fetched from which commit, and no word of the cuts"
    )
    assert not leftovers(tmp_path)


def test_connections_reset_by_the_other_side_start_the_file_again(server, files, client, monkeypatch):
    bars = []
    monkeypatch.setattr(hub, "progress_bar", lambda unit: bars.append(progress_bar(unit)) or bars[-1])
    server.cuts, server.cut_after, server.reset = 3, 2 * 2**20, True
    assert contents(download(resolve(f"hub:{REPO}"))) == {path: files[path] for path in (TRAIN, TEST)}
    assert server.cuts == 0
    [task] = bars[0].tasks
    assert task.completed == task.total == len(files[TRAIN]) + len(files[TEST])


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_never_holds_is_one_line_and_leaves_nothing_half(server, files, client, reset):
    server.cuts, server.cut_after, server.reset = 1000, 1000, reset
    source = resolve(f"hub:{REPO}")
    with pytest.raises(
        TaleError, match=r"train-00000-of-00001.parquet: the connection to http://127.+ failed: "
    ) as found:
        download(source)
    assert "\n" not in str(found.value)
    assert not leftovers(client.home)
    server.cuts = 0
    assert contents(download(source)) == {path: files[path] for path in (TRAIN, TEST)}


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "full"), "no room for it in"),
        (OSError(errno.EFBIG, "big"), "no room for it in"),
        (RuntimeError("Xet: No space left on device (os error 28)"), "no room for it in"),
        (OSError(errno.EACCES, "Permission denied"), "it: the cache .* cannot be used: .*Permission denied"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "it: the connection to .* failed: .*reset"),
        (RuntimeError("first\nsecond"), "it: the connection to .* failed: first second$"),
    ],
)
def test_an_error_of_the_client_is_put_in_one_line(client, error, line):
    def fail() -> None:
        raise error

    with pytest.raises(TaleError, match=line):
        hub_client.attempt("it", fail)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_behind_two_links(path: Path) -> None:
    """As where the client shares one blob between data sets: snapshot -> blob -> shared blob."""
    blob = path.resolve()
    shared = blob.rename(blob.with_name("shared"))
    blob.symlink_to(shared.name)
    flip(shared)


@pytest.mark.parametrize("selection", ["validation", "stories"], ids=["lfs", "git"])
@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (flip, "its .*SHA-.* is .*, not .*"),
        (shorten, ".* bytes where .* were expected"),
        (flip_behind_two_links, "its"),
    ],
)
def test_a_corrupt_cached_file_is_found_and_fetched_again(server, files, client, capsys, selection, damage, fault):
    source = resolve(f"hub:{REPO}#{selection}")
    [(file, path)] = download(source)
    assert (file.sha256 is None) == (selection == "stories")
    damage(path)
    server.requests.clear()
    capsys.readouterr()
    assert contents(download(source)) == {file.path: files[file.path]}
    assert len(server.bodies()) == 1
    assert re.search(f"{re.escape(str(path))} is corrupt: {fault}", capsys.readouterr().err)
    server.requests.clear()
    download(source)
    assert server.requests == []


def test_only_the_corrupt_file_of_several_is_fetched_again(server, files, client):
    source = resolve(f"hub:{REPO}")
    flip(dict(download(source))[source.files[1]])
    server.requests.clear()
    assert contents(download(source)) == {path: files[path] for path in (TRAIN, TEST)}
    assert {request.path for request in server.bodies()} == {f"/cdn/{source.files[1].sha256}"}


def test_a_corrupt_cached_file_is_refused_offline(server, client):
    source = resolve(f"hub:{REPO}")
    path = dict(download(source))[source.files[1]]
    flip(path)
    client.go_offline()
    server.requests.clear()
    with pytest.raises(TaleError, match=r"validation.* is corrupt: its SHA-256 is .*, not .*; unset HF_HUB_OFFLINE"):
        download(source)
    assert server.requests == []


def test_bytes_that_arrive_corrupt_once_are_fetched_again(server, files, client):
    server.corrupt = 1
    assert contents(download(resolve(f"hub:{REPO}#validation"))) == {TEST: files[TEST]}
    assert len(server.bodies()) == 2


def test_a_corrupt_cached_file_may_arrive_corrupt_once_too(server, files, client):
    source = resolve(f"hub:{REPO}#validation")
    flip(download(source)[0][1])
    server.corrupt = 1
    assert contents(download(source)) == {TEST: files[TEST]}


@pytest.mark.parametrize("selection", ["validation", "stories"], ids=["lfs", "git"])
def test_bytes_that_arrive_corrupt_twice_are_refused_and_not_kept(server, files, client, selection):
    source = resolve(f"hub:{REPO}#{selection}")
    server.corrupt = 2
    with pytest.raises(TaleError, match="arrived corrupt twice"):
        download(source)
    [file] = source.files
    assert not any(path.is_file() and path.stat().st_size == file.bytes for path in client.home.rglob("*"))
    server.corrupt = 0
    assert contents(download(source)) == {file.path: files[file.path]}


def test_a_body_beyond_its_said_size_is_ended_and_not_kept(server, client):
    """Bytes that come one by one for ever: the first one too many ends it."""
    server.endless = True
    try:
        with pytest.raises(TaleError, match=r"stories\.txt: the Hub sends more than the 27 bytes that it has listed"):
            download(resolve(f"hub:{REPO}#stories"))
    finally:
        server.endless = False
    assert not leftovers(client.home)
    ((_, path),) = download(resolve(f"hub:{REPO}#stories"))
    assert path.stat().st_size == 27


def test_a_list_without_end_is_refused(server, client, monkeypatch):
    monkeypatch.setattr("tinytale.addons.hub.files.MOST_FILES", 6)
    with pytest.raises(TaleError, match=f"hub:{REPO}@main has 7 files; expected 6 at most"):
        resolve(f"hub:{REPO}")


def test_without_a_home_there_is_one_line(tale, server, client, monkeypatch, tmp_path):
    """As a container has it that runs as a user without a name; the client would make a folder called `~`."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HOME", "~/.cache/huggingface")
    monkeypatch.chdir(tmp_path)
    ended = tale("prepare", f"hub:{REPO}", "--out", tmp_path / "out")
    assert ended.code == 1 and "set HF_HOME to a folder" in ended.err and not (tmp_path / "~").exists()
    ended = tale("prepare", "builtin", "--stories=9", "--tokenizer=gpt2", "--out", tmp_path / "out")
    assert ended.code == 1 and "set HF_HOME to a folder" in ended.err


def test_offline_without_a_cache_is_one_line(server, client):
    client.go_offline()
    with pytest.raises(
        TaleError, match=rf"^hub:{REPO}@main: HF_HUB_OFFLINE forbids the network; it was not fetched before"
    ):
        resolve(f"hub:{REPO}")
    assert server.requests == []


def test_offline_with_half_a_cache_is_one_line(server, client):
    source = resolve(f"hub:{REPO}")
    download(resolve(f"hub:{REPO}#validation"))
    client.go_offline()
    server.requests.clear()
    with pytest.raises(TaleError, match=rf"1 of 2 files are not in .*\(first {TRAIN}\) and HF_HUB_OFFLINE"):
        download(source)
    assert resolve(f"hub:{REPO}") == source
    assert server.requests == []


def test_no_network_and_no_cache_is_one_line(server, tmp_path):
    server.url = "http://127.0.0.1:1"
    done = run(server, tmp_path, f"hub:{REPO}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"TaleError: hub:{REPO}@main: the connection to http://127.0.0.1:1 failed: ")
    assert done.stderr.count("\n") == 1


def test_no_network_but_a_cache_goes_on_with_the_last_commit_and_says_so(server, files, client, capsys, monkeypatch):
    source = resolve(f"hub:{REPO}")
    download(source)
    capsys.readouterr()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    assert contents(download(resolve(f"hub:{REPO}"))) == {path: files[path] for path in (TRAIN, TEST)}
    assert f"using commit {source.revision}, as the last time" in capsys.readouterr().err


def test_a_network_that_goes_away_before_the_files_is_one_line(server, client, monkeypatch):
    source = resolve(f"hub:{REPO}")
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:1/{repo_id}{revision}{filename}"
    )
    with pytest.raises(TaleError, match=r"train.*: the connection to .* failed: ") as found:
        download(source)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("hub:owner/other", "hub:owner/other@main: no such data set, or a private one"),
        (f"hub:{REPO}@v9", f"hub:{REPO}@v9: there is no such revision"),
        (f"hub:{REPO}@{'0' * 40}", f"hub:{REPO}@{'0' * 40}: there is no such revision"),
    ],
)
def test_what_is_not_there_is_one_line(server, client, spec, line):
    with pytest.raises(TaleError, match=line) as found:
        resolve(spec)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("status", "code", "line"),
    [
        (404, "EntryNotFound", "is not on the Hub, though listed"),
        (404, "RepoNotFound", "no such data set, or a private one"),
        (403, "", "refuses access"),
        (401, "", "refuses access"),
        (410, "", "the Hub fails with 410"),
        (503, "", "the Hub fails with 503"),
    ],
)
def test_a_file_that_the_hub_will_not_give_is_one_line_and_the_rest_is_kept(server, files, client, status, code, line):
    source = resolve(f"hub:{REPO}")
    server.errors[TEST] = (status, code)
    with pytest.raises(TaleError, match=line) as found:
        download(source)
    assert TEST in str(found.value)
    assert "\n" not in str(found.value)
    server.errors.clear()
    server.requests.clear()
    assert contents(download(source)) == {path: files[path] for path in (TRAIN, TEST)}
    assert len(server.bodies()) == 1


def test_a_hub_that_fails_is_asked_again(server, client, monkeypatch):
    server.errors[REPO] = (503, "")
    monkeypatch.setattr(
        time, "sleep", lambda seconds: server.errors.clear() if seconds == hub_client.WAITS[1] else None
    )
    assert len(resolve(f"hub:{REPO}").files) == 2
    assert len(server.lists()) == 3
    server.errors[REPO] = (500, "")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(TaleError, match="the Hub fails with 500"):
        resolve("hub:" + REPO + "@v2")


def test_a_gated_data_set_needs_a_token(server, files, client, monkeypatch):
    server.gated.add(REPO)
    source = resolve(f"hub:{REPO}#validation")
    with pytest.raises(TaleError, match="is gated: accept its terms on its page, then set HF_TOKEN"):
        download(source)
    monkeypatch.setenv("HF_TOKEN", server.token)
    assert contents(download(source)) == {TEST: files[TEST]}


def test_a_moved_branch_is_said_and_a_pinned_commit_stays(server, files, client, capsys):
    before = resolve(f"hub:{REPO}@main")
    download(before)
    assert f"hub:{REPO}: main is commit {before.revision}\n" in capsys.readouterr().err
    after_files = files | {TEST: parquet(["Another end."])}
    commit = server.commit(REPO, after_files)
    after = resolve(f"hub:{REPO}@main")
    assert after.revision == commit != before.revision
    assert f"main is commit {commit} (it was {before.revision} the last time)" in capsys.readouterr().err
    server.requests.clear()
    assert resolve(f"hub:{REPO}@{before.revision}") == before
    assert contents(download(before)) == {path: files[path] for path in (TRAIN, TEST)}
    assert server.requests == []
    assert contents(download(after)) == {path: after_files[path] for path in (TRAIN, TEST)}
    assert resolve(before.spec) == before


def test_a_commit_answered_by_another_is_refused(server, client):
    repository = server.repositories[REPO]
    asked = "a" * 40
    repository.branches[asked] = repository.branches["main"]
    with pytest.raises(TaleError, match=f"the Hub answered with another commit, {repository.branches['main']}"):
        resolve(f"hub:{REPO}@{asked}")


def test_a_damaged_list_of_files_is_not_believed(server, files, client):
    source = resolve(f"hub:{REPO}")
    [record] = client.home.rglob(f"{source.revision}.json")
    right = record.read_text(encoding="utf-8")
    for wrong in (right.replace(source.files[0].sha256, "0" * 64), right[:50], "[]", '{"files": [{"path": 1}]}'):
        record.write_text(wrong, encoding="utf-8")
        assert resolve(source.spec) == source
        assert record.read_text(encoding="utf-8") == right
    record.write_text(right.replace(str(source.files[0].bytes), "17"), encoding="utf-8")
    client.go_offline()
    with pytest.raises(TaleError, match="HF_HUB_OFFLINE forbids"):
        resolve(source.spec)


def test_no_room_is_seen_before_anything_is_fetched(server, files, client, monkeypatch):
    source = resolve(f"hub:{REPO}")
    needed = len(files[TRAIN]) + len(files[TEST])
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(free=needed - 1))
    with pytest.raises(TaleError, match=f"no room for .*: {needed:,} bytes are needed and {needed - 1:,} are free"):
        download(source)
    assert server.bodies() == []
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(free=needed))
    assert contents(download(source)) == {path: files[path] for path in (TRAIN, TEST)}


Usage = namedtuple("Usage", "free")


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[int]:
    """Make `folder` a disk of 2 MB; where that is not allowed, give a limit for the size of a file instead."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0:
        try:
            yield 0
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    else:
        yield 2 * 2**20


def test_prepare_makes_a_dataset_of_what_the_hub_serves_and_needs_it_no_more(server, tmp_path):
    """The whole verb, over cut connections, then again without the network: the same dataset."""
    server.commit(
        "owner/told", {TRAIN: parquet([f"Told {n}.\n" for n in range(2000)]), TEST: parquet(["Told 5.", "x"])}
    )
    server.cuts, server.cut_after = 3, 5000
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = kept | {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home")}
    shown = []
    for out, offline in (("online", "0"), ("offline", "1")):
        command = ["prepare", "hub:owner/told", "--out", str(tmp_path / out), "--vocab-size", "300", "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "tinytale", *command],
            env=environment | {"HF_HUB_OFFLINE": offline},
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        shown.append(json.loads(done.stdout))
    assert shown[0] == shown[1]
    commit = server.repositories["owner/told"].branches["main"]
    assert shown[0]["settings"]["source"] == f"hub:owner/told@{commit}"
    assert [source["name"] for source in shown[0]["sources"]] == [TRAIN, TEST]
    assert (shown[0]["splits"]["test"]["stories"], shown[0]["removed"]) == (2, {"duplicates_of_test": 1})


@pytest.mark.skipif(os.name == "nt", reason="needs a file system or process limits of POSIX")
def test_a_disk_that_fills_up_is_one_line_and_keeps_what_was_complete(server, files, tmp_path):
    home = tmp_path / "disk"
    with full_disk(home) as limit:
        first = run(server, home, f"hub:{REPO}#validation", str(limit))
        assert first.returncode == 0, first.stderr
        done = run(server, home, f"hub:{REPO}", str(limit), "disk_usage lies")
        assert done.returncode == 1
        error = done.stderr.splitlines()[-1]
        assert error.startswith("TaleError: no room for hub:owner/tales@")
        assert TRAIN in error
        assert not leftovers(home)
        if not limit:
            honest = run(server, home, f"hub:{REPO}")
            assert f"no room for hub:{REPO}" in honest.stderr.splitlines()[-1]
            assert " are free in " in honest.stderr.splitlines()[-1]
        server.requests.clear()
        again = run(server, home, f"hub:{REPO}#validation", HF_HUB_OFFLINE="1")
        [path] = json.loads(again.stdout)[1].values()
        assert Path(path).read_bytes() == files[TEST]


def test_a_cache_that_is_no_folder_is_one_line(server, client):
    client.home.mkdir()
    (client.home / "hub").write_text("in the way", encoding="utf-8")
    with pytest.raises(TaleError, match=r"the cache .* cannot be used|no room") as found:
        download(resolve(f"hub:{REPO}"))
    assert "\n" not in str(found.value)


def test_what_a_killed_download_left_is_cleared_but_not_what_one_still_writes(server, client):
    source = resolve(f"hub:{REPO}#validation")
    blobs = client.home / "hub" / "datasets--owner--tales" / "blobs"
    blobs.mkdir(parents=True)
    old, new = blobs / "aa.11111111.incomplete", blobs / "bb.22222222.incomplete"
    for path in (old, new):
        path.write_bytes(b"half")
    past = time.time() - 2 * hub.ABANDONED
    os.utime(old, (past, past))
    download(source)
    assert leftovers(client.home) == [new]


TINY = "roneneldan/TinyStories"


def test_tinystories_is_pinned_and_its_parquet_preferred_to_its_texts(server, client):
    shards = [f"data/train-0000{n}-of-00004-2d5a1467fff1081b.parquet" for n in range(4)]
    valid = "data/validation-00000-of-00001-869c898b519ad725.parquet"
    texts = [f"TinyStories{v}-{s}.txt" for v in ("", "V2-GPT4") for s in ("train", "valid")]
    there = [*shards, valid, *texts, "TinyStories_all_data.tar.gz", "Evaluation prompts.yaml", "README.md"]
    commit = server.commit(TINY, {path: path.encode() for path in there}, name=hub.PINNED[TINY])
    server.commit(TINY, {"moved.txt": b"on"})
    source = resolve(f"hub:{TINY}")
    assert source.revision == commit == "f54c09fd23315a6f9c86f9dc80f725de7d8f9c64"
    assert {file.path: file.split for file in source.files} == {**dict.fromkeys(shards, "train"), valid: "test"}
    second = resolve(f"hub:{TINY}#V2")
    assert {file.path: file.split for file in second.files} == {texts[2]: "train", texts[3]: "test"}
    assert second.spec == f"hub:{TINY}@{commit}#V2"
    assert [path.name for _, path in download(second)] == [texts[2], texts[3]]
    assert resolve(f"hub:{TINY}@main").files[0].path == "moved.txt"


@pytest.mark.parametrize(
    ("selection", "paths"),
    [
        (None, ["en/test/0.parquet", "en/train/0.parquet", "fr/train/0.parquet"]),
        ("en", ["en/test/0.parquet", "en/train/0.parquet"]),
        ("en/train", ["en/train/0.parquet"]),
        ("train", ["en/train/0.parquet", "fr/train/0.parquet"]),
        ("*/train/*", ["en/train/0.parquet", "fr/train/0.parquet"]),
        ("jsonl", ["lines.jsonl"]),
        ("old", ["old-english.txt"]),
    ],
)
def test_a_selection_is_a_pattern_a_folder_or_a_part_of_the_name(server, client, selection, paths):
    there = ["en/train/0.parquet", "en/test/0.parquet", "fr/train/0.parquet", "lines.jsonl", "old-english.txt"]
    server.commit("owner/many", {path: path.encode() for path in there}, branch="refs/convert/parquet")
    source = resolve("hub:owner/many@refs/convert/parquet" + (f"#{selection}" if selection else ""))
    assert [file.path for file in source.files] == paths


def test_a_selection_or_data_set_without_stories_says_what_is_there(server, client):
    server.commit("owner/none", {"README.md": b"", "LICENSE.txt": b"", "a.csv": b"1"})
    with pytest.raises(UsageError, match=r"#zz finds no file; there are: LICENSE.txt, README.md, a.csv$"):
        resolve("hub:owner/none#zz")
    with pytest.raises(
        TaleError, match=r"has no Parquet, JSONL or txt file here, only: LICENSE.txt, README.md, a.csv;"
    ):
        resolve("hub:owner/none")


@pytest.mark.parametrize(
    "spec",
    [
        "hub:",
        "hub:tales",
        "hub:a/b/c",
        "hub:../x",
        "hub:a/..",
        "hub:a/b@",
        "hub:a/b#",
        "a/b",
        "hub:a\\b",
        "hub:a/b--c",
        "hub:a/b c",
    ],
)
def test_a_spec_that_names_no_data_set_is_refused(spec):
    with pytest.raises(UsageError, match="names no data set on the Hub: write hub:OWNER/NAME"):
        resolve(spec)


@pytest.mark.parametrize("path", ["../../evil.txt", "/evil.txt", "a/../../../evil.txt"])
def test_a_path_that_leaves_the_cache_is_refused(server, client, path):
    server.commit("owner/evil", {path: b"evil"})
    with pytest.raises(TaleError, match="makes no sense"):
        download(resolve("hub:owner/evil"))
    assert not list(client.home.parent.rglob("evil.txt"))


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("valid.txt", "test"),
        ("TinyStoriesV2-GPT4-valid.txt", "test"),
        ("data/validation-00000-of-00001.parquet", "test"),
        ("Eval_stories.JSONL", "test"),
        ("test/train.parquet", "train"),
        ("train/test/0000.parquet", "test"),
        ("test/train/0000.parquet", "train"),
        ("invalid.txt", "train"),
        ("latest.txt", "train"),
        ("evaluate.txt", "train"),
        ("stories.txt", "train"),
    ],
)
def test_the_split_is_read_from_the_words_of_the_name(path, split):
    assert HubFile(path=path, bytes=0).split == split
