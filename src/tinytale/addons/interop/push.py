"""`tinytale push`: a model on the Hugging Face Hub."""

from pathlib import Path

from tinytale.console import console
from tinytale.runs import CARD, RunFolder, find_folder


def push(
    folder: str,
    repository: str,
    *,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
) -> None:
    """Upload a model with its card to the Hugging Face Hub.

    It becomes one commit. The repository is made if it is missing. The token is that of HF_TOKEN, or of the client's
    log-in.

    Parameters
    ----------
    folder: str
        A GPT-2 folder, as export --to huggingface writes it, a shipped run, or the name of shipped weights.
    repository: str
        Where to, as OWNER/NAME.
    private: bool
        Make a private repository.
    revision: str
        The branch; made if it is missing. Default: main.
    dry_run: bool
        List what would be uploaded, and do nothing.
    """
    from tinytale.addons.interop.hub_upload import check_repository, files_to_push
    from tinytale.addons.interop.hub_upload import push as push_files
    from tinytale.addons.report.model_card import readdressed

    check_repository(repository)
    files = files_to_push(RunFolder(find_folder(folder)))
    if isinstance(card := files.get(CARD), bytes):
        files[CARD] = readdressed(card.decode(), repository).encode()
    else:
        console.print("It has no card (README.md): the Hub will show an empty page.", style="yellow")
    for name, content in sorted(files.items()):
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        console.print(f"{name:32}{size:>16,} bytes", highlight=False)
    if dry_run:
        console.print(f"Nothing was uploaded; this would go to {repository}, branch {revision or 'main'}")
        return
    console.print(f"Uploaded: {push_files(files, repository, private, revision)}", soft_wrap=True)
