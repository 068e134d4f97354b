"""A study: one question, some variations of one recipe, each trained with every seed and scored on the same stories.

The question lies in a TOML file. Every run is an ordinary run folder, trained and scored by the verbs themselves, so a
study that is stopped goes on where it was, and what it says can be rebuilt from the folders.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinytale.config import TrainConfig, as_options, decided_by_train, differences, override, read_toml, refuse_unknown
from tinytale.data.shards import Manifest
from tinytale.errors import UsageError
from tinytale.evaluation.results import read_results
from tinytale.files import at_home, sha256_of
from tinytale.recipes import recipe
from tinytale.runs import RunFolder


@dataclass(frozen=True, kw_only=True)
class Variation:
    """One answer that is tried."""

    name: str
    dataset: str
    scored_on: str
    """The dataset whose dev stories score it."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What differs from the recipe, by section and field of the config."""
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question and the runs that answer it."""

    name: str
    question: str
    recipe: str
    variations: tuple[Variation, ...]


@dataclass(frozen=True)
class StudyRun:
    """One run of a study, done or to be done."""

    study: Study
    variation: Variation
    seed: int
    folder: RunFolder

    def config(self) -> TrainConfig:
        """The settings that were asked for.

        Raises:
            UsageError: a setting is unknown or impossible.
        """
        changes = {**self.variation.settings, "recipe": self.study.recipe}
        return override(recipe(self.study.recipe), changes | {"run": {**changes.get("run", {}), "seed": self.seed}})

    def commands(self) -> list[list[str]]:
        """The arguments of `tinytale` that train and score it."""
        options = [
            word
            for section, values in self.variation.settings.items()
            for name, value in values.items()
            for word in as_options(f"{section}.{name}", value)
        ]
        where = ["--out", str(self.folder.path), "--resume"]
        train = ["train", self.variation.dataset, "--recipe", self.study.recipe, f"--seed={self.seed}", *where]
        return [
            [*train, *options],
            ["evaluate", str(self.folder.path), "--data", self.variation.scored_on, "--split=dev"],
        ]

    def score(self) -> dict[str, Any] | None:
        """What `evaluate` found of the weights that lie there; None as long as it has not.

        Raises:
            UsageError: the folder is of a run with other settings.
            TaleError: something in it is damaged.
        """
        if not self.folder.config.is_file():
            return None
        saved = self.folder.read_config()
        others = [
            line
            for line in differences(saved, self.config())
            if (name := line.split(":")[0]) != "run.compile" and not decided_by_train(name, saved)
        ]
        if others:
            raise UsageError(
                f"{self.folder.path} is a run with other settings ({'; '.join(others)}); move it away, or name another"
                " folder with --runs"
            )
        digest = Manifest.load(Path(self.variation.scored_on)).digest
        results = self.folder.evaluation / f"{digest[:16]}.json"
        weights = self.folder.model / "model.safetensors"
        if not (results.is_file() and weights.is_file()):
            return None
        found = read_results(results).get("dev")
        return found if found and found.get("weights") == sha256_of(weights) else None


def read_study(path: Path) -> Study:
    """A study from its TOML file; its name is the file's.

    Raises:
        UsageError: the file is missing, no TOML, or lacks something.
    """
    content = read_toml(path)
    try:
        _refuse_unknown_keys(path, content)
        shared = content.get("settings", {})
        study = Study(
            name=path.stem,
            question=content["question"],
            recipe=content.get("recipe", "pocket"),
            variations=tuple(
                Variation(
                    name=name,
                    dataset=at_home(variation.get("dataset", content.get("dataset", ""))),
                    scored_on=_scored_on(variation, content),
                    settings=_merged(shared, variation.get("settings", {})),
                    seeds=tuple(variation.get("seeds", content.get("seeds", [0]))),
                )
                for name, variation in content["variations"].items()
            ),
        )
    except (KeyError, AttributeError, TypeError) as error:
        raise UsageError(
            f"{path} is not a study ({error}); expected question, dataset, and tables [variations.NAME], with"
            " [settings.SECTION] for all, [variations.NAME.settings.SECTION] for one, and lists of seeds"
        ) from error
    for run in runs_of(study, Path()):
        if not run.variation.dataset:
            raise UsageError(f"{path} names no dataset for {run.variation.name!r}; add dataset = 'FOLDER'")
        for dataset in (run.variation.dataset, run.variation.scored_on):
            if dataset.startswith("-"):
                raise UsageError(f"{path}: the dataset {dataset!r} looks like an option; write ./ before it")
        run.config()
    return study


STUDY_KEYS = ("question", "recipe", "dataset", "scored_on", "seeds", "settings", "variations")
SECTIONS = ("model", "data", "optimiser", "run")
VARIATION_KEYS = ("dataset", "scored_on", "seeds", "settings")


def _refuse_unknown_keys(path: Path, content: dict[str, Any]) -> None:
    """See that nothing stands in a study that would not be used. (Settings are checked as settings are.)

    Raises:
        UsageError: something does; or a variation cannot be the name of a folder, which its runs are called by.
    """
    for key in content:
        refuse_unknown(key, STUDY_KEYS, f"{path}: a study has no key")
    for name, variation in content["variations"].items():
        if not re.fullmatch(r"\w[\w .+-]*", name):
            raise UsageError(
                f"{path}: the variation {name!r} cannot be the name of a folder; expected letters, digits, spaces and"
                " _ . + -, and a letter or a digit first"
            )
        for key in variation:
            if key in SECTIONS:
                raise UsageError(
                    f"{path}: variations.{name} has no key {key!r}; did you mean [variations.{name}.settings.{key}]?"
                )
            refuse_unknown(key, VARIATION_KEYS, f"{path}: variations.{name} has no key")


def _scored_on(variation: dict[str, Any], content: dict[str, Any]) -> str:
    """The dataset that scores a variation: the one it names; else its own; else the one of the whole study."""
    places = (variation.get("scored_on"), variation.get("dataset"), content.get("scored_on"), content.get("dataset"))
    return at_home(next((place for place in places if place), ""))


def _merged(shared: dict[str, dict[str, Any]], own: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {section: {**shared.get(section, {}), **own.get(section, {})} for section in {**shared, **own}}


def runs_of(study: Study, runs: Path) -> list[StudyRun]:
    """Every variation with each of its seeds, in the folder `runs`."""
    return [
        StudyRun(study, variation, seed, RunFolder(runs / study.name / f"{variation.name}-{seed}"))
        for variation in study.variations
        for seed in variation.seeds
    ]
