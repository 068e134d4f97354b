"""What each story cost a model, kept beside the results: two models on the same stories differ more surely than alone.

Shapes: S stories.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Num
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tinytale.errors import TaleError
from tinytale.evaluation.intervals import Interval, interval, ratio_and_error
from tinytale.files import write_bytes


@dataclass(frozen=True)
class StoryScores:
    """Nats and UTF-8 bytes of each story, in the order of the stream, every story read from its start."""

    nats_S: Num[np.ndarray, " S"]
    bytes_S: Num[np.ndarray, " S"]

    @classmethod
    def of(cls, nats_N: np.ndarray, bounds: np.ndarray, byte_lengths_N: np.ndarray) -> "StoryScores":
        """Add up the tokens of a stream, story by story."""
        starts = bounds[:-1] + 1
        return cls(np.add.reduceat(nats_N, starts), np.add.reduceat(byte_lengths_N, starts))


class Difference(NamedTuple):
    """How many more bits per byte one model needs than another, with its 95% interval over stories."""

    bits_per_byte: float
    interval_95: Interval | None
    """None: of one story."""


def paired_difference(ours: StoryScores, theirs: StoryScores) -> Difference | None:
    r"""Ours minus theirs, story by story; None if they are not of the same stories.

    With $d_i$ the difference in nats on story $i$ of $b_i$ bytes it is the ratio $\sum d_i / \sum b_i$: what makes a
    story hard for both is in neither the difference nor its error.
    """
    if not np.array_equal(ours.bytes_S, theirs.bytes_S):
        return None
    ratio, error = ratio_and_error(ours.nats_S - theirs.nats_S, ours.bytes_S)
    return Difference(ratio / math.log(2), interval(ratio / math.log(2), error / math.log(2)))


def story_scores_file(results: Path, split: str) -> Path:
    """Where the story scores of a split lie, beside the results file of its dataset."""
    return results.with_name(f"{results.stem}-{split}.safetensors")


def save_story_scores(results: Path, result: dict[str, Any], scores: StoryScores) -> None:
    """Write the scores beside the results file; they name the weights that they are of.

    Raises:
        TaleError: the disk refuses.
    """
    tensors = {"nats": scores.nats_S.astype(np.float32), "bytes": scores.bytes_S.astype(np.int32)}
    content = save(tensors, metadata={"weights": result.get("weights", "")})
    write_bytes(story_scores_file(results, result["split"]), content)


def load_story_scores(results: Path, result: dict[str, Any]) -> StoryScores | None:
    """The scores that belong to a result; None if there are none of its weights.

    Raises:
        TaleError: the file is damaged.
    """
    path = story_scores_file(results, result["split"])
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            weights = (file.metadata() or {}).get("weights")
            scores = StoryScores(file.get_tensor("nats").astype(np.float64), file.get_tensor("bytes").astype(np.int64))
    except (SafetensorError, OSError) as error:
        raise TaleError(f"{path} is damaged ({error}); delete it, and evaluate again") from error
    if not scores.nats_S.shape == scores.bytes_S.shape == (result["stories"],):
        raise TaleError(
            f"{path} is damaged (it holds other stories than {results.name}); delete it, and evaluate again"
        )
    return scores if weights == result.get("weights") else None
