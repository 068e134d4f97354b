"""What a report is made from: the files of a run and, for a project's own report, of a folder of results."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tinytale.addons.report.paper.facts import Fact, Key, Source, derive
from tinytale.config import TrainConfig
from tinytale.data.shards import MANIFEST_FILE, Manifest
from tinytale.errors import TaleError, UsageError
from tinytale.files import read_json
from tinytale.runs import RunFolder, model_folder
from tinytale.training.metrics import best_look, last_with

BASELINES = {"uniform": 0, "unigram": 1, "5-gram": 5}
"""The baselines that count n-grams, and the longest n-gram of each."""
PUBLISHED = Path(__file__).with_name("published.toml")
BENCHES = ("S", "124M")
"""Sizes whose training steps a report shows."""
TELLINGS = ("M", "M-avx2")
"""Results of telling that it shows: with AMX and without."""
BESIDE = {name: f"baselines/{name}" for name in BASELINES} | {"pocket": "pocket"}
"""Folders of results that stand beside a run's own, by name."""
TINYSTORIES = "roneneldan/TinyStories"
"""Its repository on the Hub."""


@dataclass(frozen=True)
class Score:
    """One result: a file of the evaluation folder, and the split in it."""

    source: Source
    split: str

    def get(self, *key: str | int) -> Any:
        """The value there; None if there is none."""
        return self.source.get(self.split, *key)

    def fact(self, *key: str | int, form: str = ",") -> Fact:
        """The number there."""
        return self.source.fact(self.split, *key, form=form)

    def has(self, *key: str | int) -> bool:
        """Whether something was measured there."""
        return self.get(*key) is not None

    def is_of_the_stories_of(self, other: "Score") -> bool:
        """Whether both are of one split, as its sizes tell; the train splits beside it may differ."""
        return all(self.get(size) == other.get(size) for size in ("split", "stories", "bytes", "tokens_scored"))


@dataclass(frozen=True)
class RunMaterial:
    """The files of one run."""

    name: str
    run: RunFolder
    config: TrainConfig

    @classmethod
    def read(cls, folder: Path, name: str) -> "RunMaterial":
        """Open a run that has weights.

        Raises:
            UsageError: it is not a run, or has no weights yet.
        """
        run = RunFolder(folder)
        if not run.config.is_file():
            raise UsageError(
                f"{folder} is not a run (config.toml is missing); a report is made of what train or export wrote"
            )
        model_folder(folder)
        return cls(name, run, run.read_config())

    def _source(self, path: Path) -> Source:
        return Source.read(path, f"{self.name}/{path.relative_to(self.run.path).as_posix()}")

    @cached_property
    def settings(self) -> Source:
        """config.toml."""
        return self._source(self.run.config)

    @cached_property
    def weights(self) -> Source:
        """Of the weights, how many there are."""
        return self._source(self.run.model)

    @property
    def rounded(self) -> bool:
        """Whether the weights lie there in fewer digits than they were trained in."""
        return read_json(self.run.model / "config.json").get("dtype") not in (None, "float32")

    @cached_property
    def metrics(self) -> Source:
        """metrics.jsonl, a list; empty if there is none."""
        if self.run.metrics.is_file():
            return self._source(self.run.metrics)
        return Source(f"{self.name}/metrics.jsonl", self.run.metrics, [])

    @cached_property
    def samples(self) -> Source | None:
        """samples.json, if its stories were told by the weights that were scored."""
        if not self.run.samples.is_file():
            return None
        samples = self._source(self.run.samples)
        scored = {score.get("weights") for score in self.scores} - {None}
        return samples if not scored or samples.get("weights") in scored else None

    @cached_property
    def scores(self) -> list[Score]:
        """Every result; those on the run's own dataset first, and of these the test split.

        Raises:
            TaleError: one of them is damaged.
        """
        sources = [self._source(path) for path in sorted(self.run.evaluation.glob("*.json"))]
        for source in sources:
            if not isinstance(source.content, dict):
                raise TaleError(f"{source.path} does not hold results; delete it, and evaluate again")
        found = [Score(source, split) for source in sources for split in source.content]
        order = {"test": 0, "dev": 1}
        own = self.config.data.digest
        return sorted(
            (score for score in found if score.has("views", "stories", "bits_per_byte")),
            key=lambda score: (score.get("digest") != own, order.get(score.split, 2), score.source.name),
        )

    @property
    def score(self) -> Score | None:
        """The result that counts."""
        return self.scores[0] if self.scores else None

    def score_with(self, part: str) -> Score | None:
        """The first result that has a part of the full suite."""
        return next((score for score in self.scores if score.has(part)), None)

    def score_on(self, digest: str, split: str) -> Score | None:
        """The result on a split of the dataset with this digest."""
        return next((one for one in self.scores if one.split == split and one.get("digest") == digest), None)

    def last(self, field: str, until: int | None = None) -> tuple[int, str] | None:
        """Where the metrics name something for the last time, or for the last time until a place in them."""
        place = last_with(self.metrics.content, field, until)
        return None if place is None else (place, field)

    @cached_property
    def before(self) -> "RunMaterial | None":
        """The run whose weights this one began with, if its record is kept."""
        record = self.run.before
        return RunMaterial(f"{self.name}/before", record, record.read_config()) if record.config.is_file() else None

    def spent_before(self, field: str) -> list[tuple[Source, Key]]:
        """Where `tokens` or `seconds` stand that the first weights had cost, of each run before up to its best."""
        earlier = self.before
        if earlier is None:
            return []
        place = earlier.last(field, earlier.best_look)
        return [*earlier.spent_before(field), *([(earlier.metrics, place)] if place else [])]

    def spent(self, field: str, form: str) -> Fact | None:
        """The `tokens` or `seconds` of this run and of those before it."""
        place = self.last(field)
        places = [*self.spent_before(field), *([(self.metrics, place)] if place else [])]
        return derive("sum" if len(places) > 1 else "value", form, *places) if place else None

    def lineage(self) -> "Iterator[tuple[RunMaterial, int]]":
        """The runs before it, the oldest first, and itself, each with the tokens that were seen before it."""
        if self.before:
            yield from self.before.lineage()
        yield self, sum(source.get(*key) for source, key in self.spent_before("tokens"))

    @cached_property
    def looks(self) -> list[tuple[int, int, float]]:
        """Every evaluation on dev while training: its place in the metrics, the tokens seen by then, and the loss."""
        tokens, found = None, []
        for place, entry in enumerate(self.metrics.content):
            tokens = entry.get("tokens", tokens)
            if entry.get("dev_loss") is not None and tokens is not None:
                found.append((place, tokens, entry["dev_loss"]))
        return found

    @cached_property
    def best_look(self) -> int | None:
        """The place in the metrics of the evaluation whose weights were kept."""
        return best_look(self.metrics.content)

    @cached_property
    def manifest(self) -> Source | None:
        """Of the dataset that the run names, if it lies here and is still the same."""
        folder = Path(self.config.data.folder or ".")
        if not (self.config.data.folder and (folder / MANIFEST_FILE).is_file()):
            return None
        if Manifest.load(folder).digest != self.config.data.digest:
            return None
        return Source.read(folder / MANIFEST_FILE, f"{folder.name}/{MANIFEST_FILE}")

    @property
    def dataset(self) -> str:
        """What the run calls its dataset."""
        return Path(self.config.data.folder).name or "an unnamed dataset"


@dataclass(frozen=True)
class Results:
    """A folder of results beyond a run: surveys, a race, benches, studies. Every part of it may be missing."""

    folder: Path | None

    def _read(self, *parts: str) -> Source | None:
        if self.folder is None or not (path := self.folder.joinpath(*parts)).is_file():
            return None
        return Source.read(path, "/".join(("results", *parts)))

    def survey(self, digest: str) -> Source | None:
        """The survey of a dataset."""
        found = (source for source in self._folder("data") if source.get("digest") == digest)
        return next(found, None)

    def notes(self, survey: Source) -> Source | None:
        """What only a person can say about a surveyed dataset: a TOML file beside the survey."""
        return self._read("data", survey.path.with_suffix(".toml").name)

    @cached_property
    def race(self) -> Source | None:
        """The summary of a race to nanoGPT's best loss."""
        return self._read("race", "summary.json")

    @cached_property
    def studies(self) -> list[Source]:
        """The results of studies."""
        return list(self._folder("study"))

    def reading(self, weights: str) -> Source | None:
        """What a person marked in stories of weights with this SHA-256, and in real ones: a TOML file."""
        found = (source for source in self._folder("reading", "toml") if source.get("told", "weights") == weights)
        return next(found, None)

    def beside(self, split: str) -> dict[str, Score]:
        """What baselines and other models score on a split, by name."""
        found = ((name, Score(source, split)) for name, folder in BESIDE.items() for source in self._folder(folder))
        return {name: score for name, score in found if score.has("views")}

    @cached_property
    def benches(self) -> dict[str, Source]:
        """Step times, here and by other programs, by the size of the model."""
        found = {name: self._read("bench", f"{name}.json") for name in BENCHES}
        return {name: bench for name, bench in found.items() if bench}

    @cached_property
    def tellings(self) -> list[Source]:
        """How fast stories are told, here and by other programs, on one processor each."""
        return list(filter(None, (self._read("generate", f"{name}.json") for name in TELLINGS)))

    def _folder(self, name: str, kind: str = "json") -> Iterator[Source]:
        for path in sorted((self.folder / name).glob(f"*.{kind}")) if self.folder else ():
            if source := self._read(name, path.name):
                yield source


@dataclass(frozen=True)
class Material:
    """Everything that a report is made from. The first run is its subject."""

    runs: tuple[RunMaterial, ...]
    results: Results
    drawings: dict[str, bytes | None] = field(default_factory=dict, repr=False)
    """Made once, however often the report is composed anew to fit its pages."""

    @property
    def subject(self) -> RunMaterial:
        """The run that the report is about."""
        return self.runs[0]

    def drawn(self, name: str, draw: Callable[[], bytes | None]) -> bytes | None:
        """A drawing by its name; None if there is nothing to draw."""
        if name not in self.drawings:
            self.drawings[name] = draw()
        return self.drawings[name]

    def beside(self, split: str) -> dict[str, Score]:
        """The scores on the stories of a split of the subject's dataset: baselines, other models, and the runs."""
        digest = self.subject.config.data.digest
        own = self.subject.score_on(digest, split)
        runs = {run.name: run.score_on(digest, split) for run in self.runs}
        found = self.results.beside(split) | {name: score for name, score in runs.items() if score}
        return {name: score for name, score in found.items() if own and score.is_of_the_stories_of(own)}

    @cached_property
    def shared_split(self) -> str:
        """On which split the baselines stand beside the subject: test if they have been scored there, else dev."""
        for split in ("test", "dev"):
            if self.beside(split).keys() >= BASELINES.keys():
                return split
        return self.subject.score.split if self.subject.score else "test"

    @cached_property
    def survey(self) -> Source | None:
        """Of the subject's dataset."""
        return self.results.survey(self.subject.config.data.digest)

    @cached_property
    def notes(self) -> Source | None:
        """About the subject's dataset."""
        return self.results.notes(self.survey) if self.survey else None

    @cached_property
    def manifest(self) -> Source | None:
        """Of the subject's dataset, where there is no survey: a report made of kept results needs no dataset."""
        return None if self.survey else self.subject.manifest

    @cached_property
    def reading(self) -> Source | None:
        """A person's marks in the subject's samples."""
        samples = self.subject.samples
        return self.results.reading(str(samples.get("weights"))) if samples else None

    @cached_property
    def published(self) -> Source:
        """Figures that others have published."""
        return Source.read(PUBLISHED, "published.toml")

    @property
    def tinystories(self) -> bool:
        """Whether the dataset is made of TinyStories: its notes say so, or it came from that repository of the Hub."""
        if self.notes and self.notes.get("corpus") == "TinyStories":
            return True
        return bool(self.manifest and TINYSTORIES in str(self.manifest.get("settings", "source")))

    @property
    def unit(self) -> str:
        """What its texts are counted in: `word`, or `character` where there are no blanks between words."""
        score = self.subject.score_with("quality") or self.subject.score_with("memorisation")
        known = score and (score.get("quality", "unit") or score.get("memorisation", "unit"))
        return str(known or (self.survey and self.survey.get("unit")) or "word")

    def sources(self) -> Iterator[Source]:
        """Every file that was read for numbers."""
        for run in self.runs:
            yield from (run.weights, *(score.source for score in run.scores))
            for one, _ in run.lineage():
                yield from (one.settings, one.metrics)
            if run.samples:
                yield run.samples
        yield self.published
        yield from (score.source for score in self.beside(self.shared_split).values())
        for source in (
            self.survey,
            self.notes,
            self.manifest,
            self.reading,
            self.results.race,
            *self.results.benches.values(),
            *self.results.tellings,
        ):
            if source:
                yield source
        yield from self.results.studies
