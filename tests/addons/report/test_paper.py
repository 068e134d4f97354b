"""The report says what the files say: every number is looked up again, nothing is typed by hand, nothing dangles."""

import functools
import json
import math
import re
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tinytale.addons.report.paper.build import build, gather
from tinytale.addons.report.paper.chapters.discussion import discussion
from tinytale.addons.report.paper.chapters.peers import telling
from tinytale.addons.report.paper.chapters.room import ROOMS
from tinytale.addons.report.paper.chapters.stories import stories
from tinytale.addons.report.paper.chapters.summary import summary
from tinytale.addons.report.paper.compose import compose
from tinytale.addons.report.paper.facts import Fact, Source, derive, show
from tinytale.addons.report.paper.html import html_of, mathml
from tinytale.addons.report.paper.material import Material, Results, RunMaterial
from tinytale.addons.report.paper.measures import MEASURES, Measured
from tinytale.addons.report.paper.parts import Document, Paragraph, Stories, pointers
from tinytale.addons.report.paper.text import Formula, Number, Pointer, Words, plain, say
from tinytale.addons.report.paper.typeset import PAGES, digest, pdf_of
from tinytale.config import DataConfig, ModelConfig, TrainConfig
from tinytale.errors import TaleError, UsageError
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2
from tinytale.runs import RunFolder
from tinytale.training.history import copy_record

AUTHOR = "the tinytale authors"

NAMES = re.compile(r"SHA-256|GPT-2|GPT-3\.5|GPT-4|\bv1\b|\bV2\b|95%|bfloat16|float32|rep-4|distinct-2")
"""Names with a digit that templates may have."""


@pytest.fixture(scope="module")
def material() -> Material:
    """The project's own: shipped weights and committed results."""
    repository = Path(__file__).parents[3]
    return gather([repository / "weights" / "small"], repository / "docs" / "results")


@pytest.fixture(scope="module")
def document(material: Material) -> Document:
    return compose(material, ROOMS[0], AUTHOR)


FIGURE = {"value": 0.5, "interval_95": [0.4, 0.6]}


def result_of(config: TrainConfig, unit: str = "word") -> dict[str, Any]:
    """A result with everything, all of it invented."""
    view = {"loss": 1.5, "perplexity": math.exp(1.5), "bits_per_byte": 0.75, "interval_95": [0.7, 0.8]}
    part: dict[str, Any] = {}
    for measure in MEASURES:
        for key in (measure.told, measure.real):
            place = part
            for step in key[:-1]:
                place = place.setdefault(step, {})
            place[key[-1]] = dict(FIGURE)
    settings = {"stories": 3, "temperature": 0.8, "max_new_tokens": 9, "seed": 4}
    for side in part["quality"]["openings"].values():
        for name in side:
            side[name]["shuffled"] = {"value": 0.1, "interval_95": [0.0, 0.2]}
    for side in part["memorisation"].values():
        side["longest_run"]["longest"] = 31
        side["whole_stories"] = 0
    part["quality"] |= {"unit": unit, "settings": settings}
    part["memorisation"] |= {"unit": unit, "settings": settings}
    return {
        "data": config.data.folder,
        "digest": config.data.digest,
        "split": "test",
        "stories": 77,
        "views": {"stories": view, "windows": view},
        **part,
    }


def make_run(folder: Path, stories: list[str] = [], measured: bool = True, unit: str = "word") -> Path:  # noqa: B006
    """A tiny run with its files; its byte-level tokenizer knows every text."""
    from tinytale.data.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(stories or ["ab"], 257)
    shape = ModelConfig(vocab_size=257, context_length=32, layers=2, heads=2, width=8)
    config = TrainConfig(model=shape, data=DataConfig(folder="datasets/mine", digest="ab" * 32, batch_size=3))
    save_model(folder / "model", GPT2(shape), end_of_text=tokenizer.end_of_text)
    (folder / "model" / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
    (folder / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    if measured:
        lines: list[dict[str, Any]] = [
            {"step": step, "loss": 5 - step / 10, "tokens": 96 * step, "seconds": 2.0 * step} for step in range(1, 31)
        ]
        lines += [{"step": step, "dev_loss": loss, "seconds": 60.0} for step, loss in ((10, 4.5), (20, 3.1), (30, 3.3))]
        lines.sort(key=lambda line: line["step"])
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "evaluation").mkdir()
        results = {"test": result_of(config, unit)}
        (folder / "evaluation" / f"{'ab' * 8}.json").write_text(json.dumps(results))
    if stories:
        settings = {"stories": len(stories), "temperature": 0.8, "seed": 4}
        samples = {"settings": settings, "stories": stories, "ended": [True] * len(stories)}
        (folder / "samples.json").write_text(json.dumps(samples, ensure_ascii=False), encoding="utf-8")
    return folder


def gather_quickly(*runs: Path) -> Material:
    """The material of runs, with drawings that take no time."""
    material = gather(list(runs), None)
    blank = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    material.drawings.update(dict.fromkeys(("attention", "curves"), blank))
    return material


def said(document: Document) -> str:
    headings = [section.title for section in document.sections]
    return "\n".join([document.title, *headings, *map(plain, document.texts())])


def read_again(source: Source) -> Any:
    """What a file holds, read without the report's own reader."""
    if source.path.is_dir() or not source.path.is_file():
        return None
    text = source.path.read_text(encoding="utf-8")
    if source.path.suffix == ".toml":
        return tomllib.loads(text)
    if source.path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text)


def made_again(rule: str, values: list[Any]) -> float:
    """What a rule makes of values, written down a second time."""
    match rule, values:
        case "value", [value]:
            return value
        case "sum", _:
            return math.fsum(values)
        case "mean", _:
            return math.fsum(values) / len(values)
        case "product", [one, other]:
            return one * other
        case "ratio", [one, other]:
            return one / other
        case "scaled", [value, to, of]:
            return value * (to / of)
        case "scaled ratio", [value, to, of, other]:
            return value * (to / of) / other
        case "perplexity at", [loss, end, bits]:
            return math.exp(loss / bits * end)
        case "bits per byte", [loss, bytes_per_token]:
            return loss / math.log(2) / bytes_per_token
        case "words", [text]:
            return sum(1 for _ in re.finditer(r"\S+", text))
        case "count", [several]:
            return sum(1 for _ in several)
    raise AssertionError(f"a rule that this test does not know: {rule}")


def check_numbers(material: Material, document: Document) -> int:
    """Look up every number of a document; how many there are."""
    sources = {source.name: source for source in material.sources()}
    contents = {name: read_again(source) for name, source in sources.items()}
    count = 0
    for fact in document.facts():
        values = []
        for origin in fact.origins:
            if sources[origin.file].path.is_dir():
                values.append(GPT2(material.subject.config.model).parameter_count())
                continue
            value = contents[origin.file]
            for key in origin.key:
                value = value[key]
            values.append(value)
        made = made_again(fact.rule, values)
        assert fact.value == pytest.approx(made, rel=1e-12), fact.source
        assert fact.shown == show(made, fact.form), fact.source
        count += 1
    return count


def test_every_number_of_the_projects_report_stands_in_its_file(material: Material, document: Document):
    assert check_numbers(material, document) > 150


def test_how_fast_stories_are_told_stands_beside_others(tmp_path: Path, repository: Path):
    assert telling(Material((), Results(tmp_path))) == []
    (tmp_path / "generate").mkdir()
    shutil.copy(repository / "docs/results/generate/M-avx2.json", tmp_path / "generate" / "M.json")
    (paragraph,) = telling(Material((), Results(tmp_path)))
    assert isinstance(paragraph, Paragraph)
    text = plain(paragraph.text)
    parts = json.loads((tmp_path / "generate" / "M.json").read_text())["parts"]
    one = next(part["contenders"] for part in parts if (part["threads"], part["prompts"]) == (1, 1))
    speeds = [one[name]["tokens_per_second"] for name in ("tinytale", "llama-cpp")]
    assert f"without AMX, 1 story at {speeds[0]:,.0f} tokens a second" in text and "32 stories at once" in text
    assert f"{speeds[0] / speeds[1]:.1f} × llama.cpp)" in text and text.count("llama.cpp") == 1


def test_a_changed_file_changes_the_text(tmp_path: Path):
    run = make_run(tmp_path / "run")
    before = compose(gather_quickly(run), ROOMS[0])
    path = next((run / "evaluation").glob("*.json"))
    path.write_text(path.read_text().replace('"bits_per_byte": 0.75', '"bits_per_byte": 0.66'))
    after = gather_quickly(run)
    assert "0.6600 (" in said(compose(after, ROOMS[0])) and "0.6600" not in said(before)
    assert "0.7500" in said(before)
    assert check_numbers(after, compose(after, ROOMS[0])) > 50


def test_no_number_is_typed_into_the_text(tmp_path: Path, document: Document):
    """Digits come from files only; formulas have constants of their own, and titles of works their year."""
    full = compose(gather_quickly(make_run(tmp_path / "run", ["One. Two."] * 3)), ROOMS[0])
    for one in (document, full):
        works = {text for work in one.references for text in work.text}
        for text in one.texts():
            for span in text:
                if isinstance(span, Words) and not span.given and span not in works:
                    assert not re.search(r"\d", NAMES.sub("", span.text)), span.text


def test_nothing_dangles(document: Document):
    called = document.numbered()
    targets = {target for text in document.texts() for target in pointers(text)}
    assert targets <= called.keys()
    assert {work.name for work in document.references} == {target for target in targets if ":" not in target}
    pointed = {target for target in targets if target.startswith("fig:")}
    assert pointed == {name for name in called if name.startswith("fig:")}


def test_the_committed_report_is_of_the_committed_results(material: Material, repository: Path):
    """Made anew by: tinytale report small --results docs/results --author ... --out docs/report/report.pdf."""
    document, pdf = build(material, "pdf", AUTHOR)
    pages, again = pdf_of(document)
    assert again == pdf and pages <= PAGES
    assert digest(document).encode() in pdf
    committed = (repository / "docs" / "report" / "report.pdf").read_bytes()
    assert digest(document).encode() in committed, (
        "docs/report/report.pdf is of other results; make it anew: tinytale report small --results docs/results"
        f" --author '{AUTHOR}' --out docs/report/report.pdf"
    )


def test_a_run_without_anything_has_a_report(tmp_path: Path):
    material = gather([make_run(tmp_path / "bare", measured=False)], None)
    document, pdf = build(material, "pdf")
    text = said(document)
    assert pdf.startswith(b"%PDF") and "not been scored" in text
    assert [section.title for section in document.sections] == [
        "Implementation", "Dataset and preprocessing", "Training", "Discussion",
    ]  # fmt: skip
    for word in ("TinyStories", "English", "nanoGPT", "course"):
        assert word not in text
    assert check_numbers(material, document) > 10


def figures_in(part: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The places of all figures in a result."""
    for name, value in part.items():
        if isinstance(value, dict):
            yield from [(*path, name)] * ("interval_95" in value)
            yield from figures_in(value, (*path, name))


def test_a_figure_that_could_not_be_measured_is_left_out(tmp_path: Path):
    """Of one story much cannot be told; then the suite writes null, in place of a figure or of its interval."""
    run = make_run(tmp_path / "run", ["One day.", "A cat sat."])
    material = gather_quickly(run)
    score = material.subject.score_with("quality")
    assert score
    result = score.source.content["test"]
    places = [place for part in ("quality", "memorisation") for place in figures_in(result[part], (part,))]
    assert ("quality", "openings", "samples", "names_kept", "shuffled") in places and len(places) > 30
    for *way, last in places:
        above = functools.reduce(dict.__getitem__, way, result)
        whole = above[last]
        for lost in (None, {**whole, "interval_95": None}):
            above[last] = lost
            assert stories(material, ROOMS[0]) and summary(material) and discussion(material)
        above[last] = whole


@pytest.mark.parametrize(
    ("stories", "unit"),
    [
        (["Жила-була лисичка. «Ой!» — сказала вона.\nІ пішла спати."] * 4, "word"),
        (["むかしむかし、小さなきつねがいました。きつねは森へ行きました。"] * 4, "character"),
    ],
    ids=["Ukrainian", "Japanese"],
)
def test_a_run_in_another_language_has_its_report(stories: list[str], unit: str, tmp_path: Path):
    document = compose(gather([make_run(tmp_path / "run", stories, unit=unit)], None), ROOMS[0])
    text = said(document)
    assert pdf_of(document)[1].startswith(b"%PDF")
    for word in ("TinyStories", "English", "nanoGPT", "course text", "children"):
        assert word not in text
    assert f"sequences of eight {unit}s" in text
    assert stories[0].split("\n")[0] in html_of(document)
    assert ("words, ended" in text) == (unit == "word")


def test_what_a_model_tells_is_never_read_as_markup(tmp_path: Path):
    story = "#panic(1) $x$ *no* _no_ `no` {n} [tab:none] <script>alert(1)</script> \\u{41} // \" '"
    material = gather_quickly(make_run(tmp_path / "run", [story] * 4))
    document, pdf = build(material, "pdf")
    (told,) = (part for part in document.parts() if isinstance(part, Stories))
    assert {one.told for one in told.stories} == {story} and pdf.startswith(b"%PDF")
    page = html_of(document)
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_stories_lose_room_before_the_report_loses_its_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    material = gather_quickly(make_run(tmp_path / "run", ["word " * 4000] * 4))
    full = compose(material, ROOMS[0])
    pages, _ = pdf_of(full)
    monkeypatch.setattr("tinytale.addons.report.paper.typeset.PAGES", pages - 1)
    document, pdf = build(material, "pdf")
    assert pdf_of(document) == (pages - 1, pdf)
    (most,), (fewer,) = (
        [part.stories for part in one.parts() if isinstance(part, Stories)] for one in (full, document)
    )
    assert len(fewer) < len(most) and all(len(one.told.split()) == 401 and one.told.endswith("…") for one in most)
    monkeypatch.setattr("tinytale.addons.report.paper.typeset.PAGES", 1)
    with pytest.raises(TaleError, match="may have 1; name fewer runs"):
        build(material, "pdf")


def test_several_runs_stand_side_by_side(tmp_path: Path):
    material = gather_quickly(make_run(tmp_path / "one"), make_run(tmp_path / "other"))
    document = compose(material, ROOMS[0])
    assert "tab:runs" in document.numbered() and check_numbers(material, document) > 50
    assert "intervals are over stories" not in said(document)


def test_a_run_that_began_with_the_weights_of_another_counts_what_they_cost(tmp_path: Path):
    run = RunFolder(make_run(tmp_path / "run"))
    copy_record(RunFolder(make_run(tmp_path / "first")), run.before)
    began = replace(run.read_config(), run=replace(run.read_config().run, start_from="first"))
    run.config.write_text(began.to_toml(), encoding="utf-8")
    material = gather([run.path], None)
    document = compose(material, ROOMS[0])
    text = said(document)
    assert check_numbers(material, document) > 50
    assert "on 4.80k tokens in 2\N{NO-BREAK SPACE}min\N{NO-BREAK SPACE}0\N{NO-BREAK SPACE}s" in text
    assert "2.88k, after 1.92k" in text and "began with the weights of" in text and "Left of the dotted line" in text
    assert [tokens for _, tokens in material.subject.lineage()] == [0, 1920]
    alone = gather([tmp_path / "first"], None)
    assert ", after " not in said(compose(alone, ROOMS[0])) and "beginning with" not in text
    shutil.rmtree(run.before.path)
    assert "trained, beginning with the weights of first, on 2.88k" in said(compose(gather_quickly(run.path), ROOMS[0]))
    assert material.drawings["curves"] != alone.drawings["curves"]


def test_the_course_of_dev_loss_is_told_as_it_went(tmp_path: Path):
    run = make_run(tmp_path / "run")
    assert "Dev loss turned at step 20, at 3.100; in the end it was 3.300" in said(
        compose(gather_quickly(run), ROOMS[0])
    )
    metrics = run / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"dev_loss": 3.3', '"dev_loss": 3.0'))
    text = said(compose(gather_quickly(run), ROOMS[0]))
    assert "from 3.100 at the last look but one to 3.000" in text and "turned" not in text


def test_the_page_needs_nothing_else_and_says_where_numbers_are_from(document: Document):
    page = html_of(document)

    class Reader(HTMLParser):
        links: list[str] = []  # noqa: RUF012
        ids: list[str] = []  # noqa: RUF012
        sources: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            self.links += [str(given[name]) for name in ("src", "href") if name in given]
            self.ids += [str(given["id"])] if "id" in given else []
            self.sources += [str(given["title"])] if tag == "data" else []

    reader = Reader()
    reader.feed(page)
    assert all(link.startswith(("#", "data:image/svg+xml;base64,")) for link in reader.links)
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.sources == [fact.source for fact in document.facts()]
    listed = re.search(r'id="numbers">(.*?)</script>', page, flags=re.DOTALL)
    assert listed and [one["shown"] for one in json.loads(listed[1])] == [fact.shown for fact in document.facts()]
    formulas = sum(isinstance(span, Formula) for text in document.texts() for span in text)
    assert page.count("<math") >= formulas > 20


def test_the_same_files_give_the_same_page(material: Material, document: Document):
    assert html_of(document) == html_of(compose(material, ROOMS[0], AUTHOR))


def test_templates_become_spans_and_values_stay_as_they_are():
    fact = Fact(0.5, ".0%", "value", ())
    text = say("It's *{n} of* `{name}`, $x_1$ [tab:one] _so {n}_", n=fact, name="*_[x]_*")
    assert text == (
        Words("It’s "),
        Number(fact, "strong"),
        Words(" of", "strong"),
        Words(" "),
        Words("*_[x]_*", "code", given=True),
        Words(", "),
        Formula("x_1"),
        Words(" "),
        Pointer("tab:one"),
        Words(" "),
        Words("so ", "emphasis"),
        Number(fact),
    )


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        (1234567, ",", "1,234,567"),
        (2_700_000, "millions", "2.7 million"),
        (560_734_000, "millions", "561 million"),
        (5_853_184, "short", "5.85M"),
        (159_727, "short", "160k"),
        (512, "short", "512"),
        (634_018, "mega", "0.63"),
        (15_412, "mega", "0.015"),
        (30_721_513, "mega", "30.7"),
        (2_227_753_162, "mega", "2228"),
        (4850.4, "clock", "1 h 20 min"),
        (3600, "clock", "1 h"),
        (61, "clock", "1 min 1 s"),
        (45.2, "clock", "45 s"),
        (-0.25, ".1f", "−0.2"),
    ],
)
def test_numbers_are_printed_for_people(value: float, form: str, shown: str):
    assert show(value, form).replace("\N{NO-BREAK SPACE}", " ") == shown


def test_a_number_that_is_not_there_is_named_with_its_file(tmp_path: Path):
    path = tmp_path / "some.json"
    path.write_text('{"a": {"b": "many"}, "none": 0}')
    source = Source.read(path, "some.json")
    for keys in ((("a", "c"),), (("a", "b"),)):
        with pytest.raises(TaleError, match=re.escape(str(path))):
            derive("value", ".2f", *((source, key) for key in keys))
    with pytest.raises(TaleError, match="none"):
        source.derived("ratio", ".1f", ("none",), ("none",))


@pytest.mark.parametrize("better", ["high", "low"])
def test_only_intervals_that_do_not_touch_make_a_difference(better: str, tmp_path: Path):
    measure = next(one for one in MEASURES if one.better == better and one.told[0] == "quality")
    run = make_run(tmp_path / "run")
    path = next((run / "evaluation").glob("*.json"))

    def verdict(low: float, high: float) -> str:
        content = json.loads(path.read_text())
        place = content["test"]
        for key in measure.told:
            place = place[key]
        place["interval_95"] = [low, high]
        path.write_text(json.dumps(content))
        score = RunMaterial.read(run, "run").score
        assert score
        return Measured(measure, score).verdict

    assert verdict(0.6, 0.7) == "alike" and verdict(0.0, 0.4) == "alike"
    above, below = ("better", "worse") if better == "high" else ("worse", "better")
    assert verdict(0.61, 0.7) == above and verdict(0.1, 0.39) == below


def test_formulas_are_set_once_each_in_their_order():
    asked = [("x", False), ("y^2", True), ("x", False), ("x", True)]
    found = mathml(asked)
    assert list(found) == [("x", False), ("y^2", True), ("x", True)]
    assert "msup" in found["y^2", True] and "block" in found["x", True] and "block" not in found["x", False]


@pytest.mark.parametrize("content", ["[]", '{"test": {"views": {"stories": {"bits_per_byte": "few"}}}}', "{"])
def test_damaged_results_are_refused_by_name(content: str, tmp_path: Path):
    run = make_run(tmp_path / "run")
    path = next((run / "evaluation").glob("*.json"))
    path.write_text(content)
    with pytest.raises(TaleError, match=re.escape(str(path))):
        build(gather_quickly(run), "html")


def test_what_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match=r"config\.toml is missing"):
        gather([tmp_path], None)
    run = make_run(tmp_path / "run")
    shutil.rmtree(run / "model")
    with pytest.raises(UsageError, match="without weights"):
        gather_quickly(run)


def test_samples_of_other_weights_are_left_out(tmp_path: Path):
    run = make_run(tmp_path / "run", ["One. Two."] * 3)
    path = next((run / "evaluation").glob("*.json"))
    content = json.loads(path.read_text())
    content["test"]["weights"] = "aa"
    path.write_text(json.dumps(content))
    parts = compose(gather_quickly(run), ROOMS[0]).parts()
    assert not any(isinstance(part, Stories) for part in parts)
