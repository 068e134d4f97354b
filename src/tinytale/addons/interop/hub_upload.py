"""A model folder for the Hugging Face Hub: which files, and their upload by the official client in one commit."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path

from tinytale.addons.hub.client import client_settings
from tinytale.addons.interop.model_folder import card_and_settings, is_own_file
from tinytale.advice import command
from tinytale.errors import TaleError, UsageError
from tinytale.model.weight_files import DIGEST, INDEX, weight_paths
from tinytale.runs import RunFolder, model_folder

PUBLISHED = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    INDEX,
    DIGEST,
)
"""What goes along with weights and card; anything else in the folder stays behind."""

MESSAGE = "Upload a model of tinytale"


def files_to_push(source: RunFolder) -> dict[str, Path | bytes]:
    """The files of a GPT-2 folder or of a shipped run, by the names that they get on the Hub.

    Raises:
        UsageError: it is a run that was never made fit to ship.
        TaleError: there are no weights that one may publish, or a file is a link that leads out of the folder.
    """
    folder = model_folder(source.path)
    texts = card_and_settings(source)
    if folder != source.path and not texts:
        raise UsageError(
            f"{source.path} is a run without a card, and its settings hold paths of this machine; first write what is"
            f" fit to publish: {command('export', source.path, '--to', 'huggingface', '--out', 'FOLDER')}"
        )
    paths = [*(folder / name for name in PUBLISHED), *weight_paths(folder)]
    files: dict[str, Path | bytes] = {path.name: path for path in paths if is_own_file(path)}
    return files | {name: text.encode() for name, text in texts.items()}


def check_repository(repo: str) -> None:
    """Whether a name can be one of the Hub's.

    Raises:
        UsageError: it cannot.
    """
    if not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", repo, flags=re.ASCII):
        raise UsageError(
            f"{repo!r} is no name of a repository; expected OWNER/NAME, OWNER being you or an organisation"
        )


def push(files: Mapping[str, Path | bytes], repo: str, private: bool, revision: str | None) -> str:
    """Upload files as one commit; the repository, and the branch `revision`, are made if they are missing.

    The token is the client's own: HF_TOKEN, or what its log-in has kept. Returns the address of the commit.

    Raises:
        TaleError: the Hub refuses or cannot be reached; one line says how. Nothing is published in part.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    if not get_token():
        raise TaleError("there is no token for the Hub; set HF_TOKEN to one that may write, or log in: hf auth login")
    api = HfApi()
    try:
        with client_settings(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on what a card might say besides
            api.create_repo(repo, private=private or None, exist_ok=True)
            if private and not api.repo_info(repo).private:
                raise UsageError(f"{repo} is there already, and public; leave out --private, or name another")
            if revision:
                api.create_branch(repo, branch=revision, exist_ok=True)
            additions = [CommitOperationAdd(name, content) for name, content in sorted(files.items())]
            return api.create_commit(repo, additions, commit_message=MESSAGE, revision=revision).commit_url
    except TaleError:
        raise
    except Exception as error:
        raise TaleError(explain(error, repo)) from error


def explain(error: BaseException, repo: str) -> str:
    """One of the client's many errors in a line for the person."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, RuntimeError) and error.__cause__:  # how the client wraps what befell a large file
        return explain(error.__cause__, repo)
    words = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, OfflineModeIsEnabled):
        return f"{repo}: HF_HUB_OFFLINE forbids the network"
    if isinstance(error, ValueError) and not isinstance(error, HfHubHTTPError):
        return f"{repo}: the Hub does not take that: {words}"
    if not isinstance(error, HfHubHTTPError):
        return f"{repo}: the connection to {constants.ENDPOINT} failed: {words}"
    status = error.response.status_code
    match status:
        case 401:
            return f"{repo}: the Hub does not accept the token (401); set HF_TOKEN to a valid one, or: hf auth login"
        case 403:
            return f"{repo}: the token may not write there (403); make one that may, or name a repository of your own"
        case 404:
            return f"{repo}: the Hub does not find it (404); check the name, and whether the token may see it"
        case _:
            return f"{repo}: the Hub fails with {status} ({words}); nothing was published, try again later"
