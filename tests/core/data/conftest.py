from collections.abc import Callable
from pathlib import Path

import pytest

from tinytale.data.prepare import prepare
from tinytale.data.shards import Manifest

NAMES = ("Ann", "Bo", "Chu", "Dora", "Émile", "Finn")
THINGS = ("a red ball", "an old map", "the “big” kite", "one tiny shoe", "a café 🍰", "their boat")


def make_stories(count: int) -> list[str]:
    """Distinct little stories, with quotes, accents and an emoji."""
    return [
        f'{NAMES[n % 6]} lost {THINGS[n // 6 % 6]} on day {n}.\n"Where is it?" asked {NAMES[(n + 2) % 6]}. It was here.'
        for n in range(count)
    ]


def write_stories(path: Path, stories: list[str]) -> Path:
    path.write_text("\n<|endoftext|>\n".join(stories), encoding="utf-8", newline="\n")
    return path


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Path, Manifest]]:
    """Prepares `count` stories in shards of `shard_bytes`."""

    def make(count: int = 300, shard_bytes: int = 4000, **options) -> tuple[Path, Manifest]:
        monkeypatch.setattr("tinytale.data.encoding.SHARD_BYTES", shard_bytes)
        source = write_stories(tmp_path / "stories.txt", make_stories(count))
        options = {"vocab_size": 320, "processes": 1, "dev_fraction": 0.1, "test_fraction": 0.1} | options
        folder = tmp_path / "dataset"
        return folder, prepare(str(source), folder, **options)

    return make
