"""`tinytale push`, the real client and a stand-in for the Hub: the whole folder, or one line and nothing."""

import importlib.util
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tinytale.config import DataConfig, ModelConfig, TrainConfig
from tinytale.data.tokenizer import load_tokenizer
from tinytale.model.folder import load_model, save_model
from tinytale.model.gpt2 import GPT2

SERVER = Path(__file__).with_name("upload_server.py")
SPEC = importlib.util.spec_from_file_location("upload_server", SERVER)
upload_server = importlib.util.module_from_spec(SPEC)
sys.modules["upload_server"] = upload_server
SPEC.loader.exec_module(upload_server)

REPO = "owner/tales"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["upload_server.UploadServer"]:
    """The stand-in, and the client as its environment variables would have set it; waits cost no time."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    with upload_server.UploadServer() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", server.token)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        yield server
        close_session()


@pytest.fixture
def folder(dataset: Path, tmp_path: Path) -> Path:
    """A GPT-2 folder with a card, and with files that are nobody's business."""
    torch.manual_seed(0)
    model = GPT2(ModelConfig(vocab_size=300, context_length=16, layers=1, heads=2, width=16))
    tokenizer = (dataset / "tokenizer.json").read_bytes()
    save_model(tmp_path / "model", model, load_tokenizer(dataset).end_of_text, tokenizer)
    (tmp_path / "model" / "README.md").write_text('# tiny\n\nGPT2LMHeadModel.from_pretrained("tiny/model")\n')
    (tmp_path / "model" / "notes.txt").write_text("mine")
    return tmp_path / "model"


PUBLISHED = {
    "README.md",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model.safetensors.sha256",
    "tokenizer.json",
    "tokenizer_config.json",
}


def test_a_folder_arrives_whole_with_its_card_and_without_other_files(tale, server, folder: Path, tmp_path: Path):
    ended = tale("push", folder, REPO)
    assert ended.code == 0 and f"Uploaded: {server.url}/owner/name/commit/000" in ended.err
    repository = server.repositories[REPO]
    assert not repository.private and len(repository.messages) == 1
    files = repository.branches["main"]
    assert set(files) == PUBLISHED
    assert 'from_pretrained("owner/tales")' in files.pop("README.md").decode()
    assert files == {name: (folder / name).read_bytes() for name in files}
    for name, content in files.items():
        (tmp_path / "fetched").mkdir(exist_ok=True)
        (tmp_path / "fetched" / name).write_bytes(content)
    before, after = load_model(folder).state_dict(), load_model(tmp_path / "fetched").state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_environment_says_where_to_and_who(spawn_tale, server, folder: Path, tmp_path: Path):
    variables = {"HF_ENDPOINT": server.url, "HF_TOKEN": server.token, "HF_HOME": str(tmp_path / "home")}
    variables |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    log = tmp_path / "log"
    done = spawn_tale("push", folder, REPO, before=f"import os; os.environ |= {variables}", log=log)
    done.join()
    assert done.exitcode == 0 and "Uploaded" in log.read_text(encoding="utf-8"), log.read_text(encoding="utf-8")
    assert set(server.repositories[REPO].branches["main"]) == PUBLISHED


def test_a_second_push_is_a_second_commit(tale, server, folder: Path):
    assert tale("push", folder, REPO).code == 0
    (folder / "README.md").write_text("# other\n")
    assert tale("push", folder, REPO).code == 0
    assert len(server.repositories[REPO].messages) == 2
    assert server.repositories[REPO].branches["main"]["README.md"] == b"# other\n"
    assert len([path for path in server.requests if path.startswith("/storage/")]) == 2  # weights and SHA-256, once


def test_a_private_repository_and_a_branch_are_made(tale, server, folder: Path):
    assert tale("push", folder, REPO, "--private", "--revision=v2").code == 0
    repository = server.repositories[REPO]
    assert repository.private and set(repository.branches["v2"]) == PUBLISHED and not repository.branches["main"]


def test_what_should_be_private_is_not_put_where_all_can_read(tale, server, folder: Path):
    server.repositories[REPO] = upload_server.Repository()
    ended = tale("push", folder, REPO, "--private")
    assert ended.code == 2 and "is there already, and public" in ended.err
    assert not server.repositories[REPO].branches["main"]


def test_a_dry_run_lists_the_files_and_asks_nobody(tale, server, folder: Path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    ended = tale("push", folder, REPO, "--dry-run")
    assert ended.code == 0 and "Nothing was uploaded" in ended.err and not server.requests
    assert {line.split()[0] for line in ended.err.splitlines() if line.endswith(" bytes")} == PUBLISHED


def test_a_shipped_run_goes_with_its_settings_and_any_other_run_is_refused(tale, server, folder: Path, tmp_path: Path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.move(folder, run / "model")
    config = TrainConfig(model=load_model(run / "model").config, data=DataConfig(folder=str(tmp_path)))
    (run / "config.toml").write_text(config.to_toml())
    (run / "model" / "README.md").unlink()
    ended = tale("push", run, REPO)
    assert ended.code == 2 and f"tinytale export {run} --to huggingface --out FOLDER" in ended.err
    assert tale("export", run, "--out", tmp_path / "tiny").code == 0
    assert tale("push", tmp_path / "tiny", REPO).code == 0
    files = server.repositories[REPO].branches["main"]
    assert set(files) == PUBLISHED | {"config.toml"} and str(tmp_path) not in files["config.toml"].decode()
    assert files["README.md"].count(b'from_pretrained("owner/tales"') == 2


FAULTS = {
    "a wrong token": ({}, "wrong", "the Hub does not accept the token (401)"),
    "no token": ({}, "", "there is no token for the Hub; set HF_TOKEN"),
    "no right": ({"/api/repos/create": 403}, None, "the token may not write there (403)"),
    "no repository": ({"/api/models/owner/tales/preupload": 404}, None, "the Hub does not find it (404)"),
    "a failing Hub": ({"/api/models/owner/tales/commit": 500}, None, "the Hub fails with 500"),
    "a failing store": ({"/storage/": 503}, None, "the Hub fails with 503"),
    "a card that is refused": ({"/api/validate-yaml": 400}, None, "the Hub does not take that: Invalid metadata"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_refusal_is_one_line_and_nothing_is_published(fault: str, tale, server, folder: Path, monkeypatch):
    errors, token, message = FAULTS[fault]
    server.errors = errors
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    ended = tale("push", folder, REPO)
    assert ended.code == 1 and message in ended.err and "Uploaded" not in ended.err
    assert server.token not in ended.err
    assert not any(branch for each in server.repositories.values() for branch in each.branches.values())


def test_another_owners_repository_is_refused(tale, server, folder: Path):
    ended = tale("push", folder, "stranger/tales")
    assert ended.code == 1 and "the token may not write there (403)" in ended.err


def test_no_network_is_one_line(tale, server, folder: Path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    ended = tale("push", folder, REPO)
    assert ended.code == 1 and "the connection to http://127.0.0.1:9 failed" in ended.err


@pytest.mark.parametrize("repository", ["tales", "a/b/c", "owner/", "owner/ta les", "owner/täles"])
def test_a_name_that_is_none_is_refused(repository: str, tale, server, folder: Path):
    ended = tale("push", folder, repository)
    assert ended.code == 2 and "expected OWNER/NAME" in ended.err and not server.requests


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tale, folder: Path, tmp_path: Path):
    """A folder from a stranger may name any file of this machine; links within the Hub's cache are what they are."""
    (tmp_path / "secret").write_text("key")
    for name in ("README.md", "vocab.json"):
        kept = (folder / name).read_bytes() if (folder / name).exists() else None
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(tmp_path / "secret")
        ended = tale("push", folder, REPO, "--dry-run")
        assert (
            ended.code == 1 and f"{name} is a link that leads out of its folder" in ended.err and "key" not in ended.err
        )
        if name == "README.md":
            assert tale("import", folder, "--out", tmp_path / "out").code == 1 and not (tmp_path / "out").exists()
        (folder / name).unlink()
        if kept:
            (folder / name).write_bytes(kept)
    cached = tmp_path / "models--owner--tales" / "snapshots" / "ab"
    cached.parent.mkdir(parents=True)
    shutil.move(folder, cached)
    (tmp_path / "models--owner--tales" / "blobs").mkdir()
    (cached / "README.md").rename(tmp_path / "models--owner--tales" / "blobs" / "cd")
    (cached / "README.md").symlink_to(Path("../../blobs/cd"))
    assert tale("push", cached, REPO, "--dry-run").code == 0
