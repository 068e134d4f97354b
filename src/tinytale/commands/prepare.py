"""`tinytale prepare`: from stories to a dataset."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tinytale.advice import command
from tinytale.console import console, progress_bar
from tinytale.data.raw_files import AS_USUAL, ReadingOptions
from tinytale.runs import tokenizer_source

if TYPE_CHECKING:
    from tinytale.data.shards import Manifest


def prepare(
    source: Annotated[str, Parameter(allow_leading_hyphen=True)] = "hub:roneneldan/TinyStories",
    *,
    out: Path,
    test: str | None = None,
    vocab_size: int | None = None,
    tokenizer: str | None = None,
    stories: int | None = None,
    reading: Annotated[ReadingOptions, Parameter(name="*")] = AS_USUAL,
    rename: float = 0.0,
    processes: int | None = None,
    json: bool = False,
) -> None:
    """Turn stories into a dataset folder.

    It holds a tokenizer, token shards and a manifest.

    Run it again and it goes on where it was stopped, or checks what is there and returns at once.

    Parameters
    ----------
    source
        A .txt or .md file (stories between lines <|endoftext|>, or one story), a .jsonl, .json, .csv, .tsv or .parquet
        file, a folder or a quoted pattern of such files, hub:OWNER/NAME[@REVISION][#SELECTION], builtin, or - for
        standard input.
    out
        The dataset folder to write.
    test
        A source of test stories. Without it: files named test, valid, validation or eval, or else a fiftieth of all.
    vocab_size
        Tokens that a new tokenizer learns. Default: 8,192, or as many as the text allows.
    tokenizer
        Take this tokenizer instead: gpt2, that of a run or of shipped weights, or of a folder with tokenizer.json,
        or with vocab.json and merges.txt.
    stories
        Take only the first so many stories of the train files (of builtin: make so many).
    rename
        In this share of the train stories (0.3, say), replace names throughout by rare or invented ones, so that the
        model learns to repeat names that it does not know. For languages that keep capital letters for names.
    processes
        Processes that encode; by default one for each core, for a small text one. The result is the same.
    json
        Print the manifest and the digest as one JSON object on standard output.
    """
    from tinytale.data.prepare import prepare as make

    with progress_bar("B") as bar:
        task = bar.add_task("reading", total=None)
        try:
            manifest = make(
                source,
                out,
                test=test,
                vocab_size=vocab_size,
                tokenizer=tokenizer and tokenizer_source(tokenizer),
                stories=stories,
                options=reading,
                rename=rename,
                processes=processes,
                progress=lambda doing, done, total: bar.update(task, description=doing, completed=done, total=total),
                say=lambda line: console.print(line),
            )
        except KeyboardInterrupt:
            console.print("Stopped. Nothing is lost: the same command goes on from here.")
            raise SystemExit(130) from None
    _show(manifest, out)
    if json:
        sys.stdout.write(_as_json(manifest))


def _show(manifest: "Manifest", out: Path) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    table.add_column("split")
    for column in ("stories", "bytes", "tokens", "shards"):
        table.add_column(column, justify="right")
    for name, split in manifest.splits.items():
        table.add_row(name, f"{split.stories:,}", f"{split.bytes:,}", f"{split.tokens:,}", f"{len(split.shards):,}")
    console.print(table)
    if manifest.duplicates_of_test:
        console.print(f"Left out of train and dev: {manifest.duplicates_of_test:,} stories that are in test too.")
    console.print(f"Dataset {manifest.digest[:12]}, vocabulary {manifest.vocab_size:,}, in {out}")
    if manifest.splits["dev"].stories:
        following = command("train", out, "--recipe", "pocket", "--out", f"runs/{out.name}")
        console.print(f"Next: {following}", soft_wrap=True)


def _as_json(manifest: "Manifest") -> str:
    from json import dumps

    return dumps({"digest": manifest.digest, **manifest.to_json()}, indent=2) + "\n"
