"""The stories that the model tells: measured beside real ones, shown unselected, and seen from inside."""

from collections.abc import Sequence

from tinytale.addons.report.paper.attention import attention_drawing
from tinytale.addons.report.paper.chapters.room import Room
from tinytale.addons.report.paper.facts import Fact, Source
from tinytale.addons.report.paper.material import Material, Score
from tinytale.addons.report.paper.measures import Measured, measured
from tinytale.addons.report.paper.parts import Figure, Paragraph, Part, Section, Stories, Story, Table
from tinytale.addons.report.paper.text import Text, join, say

COMMON = 6
"""Kinds of failure that the report names."""


def stories(material: Material, room: Room) -> Section | None:
    """The chapter, if anything was told."""
    run = material.subject
    parts: list[Part] = []
    known = list(measured(run))
    if known:
        parts += _measures(material, known)
    if run.samples:
        parts += [Paragraph(_read(material.reading), "Read one by one")] if material.reading else []
        parts += _samples(run.samples, room, material.unit)
        if room.attention and (svg := material.drawn("attention", lambda: attention_drawing(run))):
            parts += _attention(material, svg)
    return Section("The stories that it tells", tuple(parts)) if parts else None


def _measures(material: Material, known: Sequence[Measured]) -> list[Part]:
    run = material.subject
    score = known[0].score
    part = "quality" if score.has("quality") else "memorisation"
    text = say(
        "The model told {n} stories without a prompt, at temperature {temperature}. [tab:quality] lays each measure"
        " beside the same of as many real stories of {split}, cut where a told one had to end. We call a difference"
        " real where the two 95% intervals do not overlap. ",
        n=score.fact(part, "settings", "stories", form=","),
        temperature=score.fact(part, "settings", "temperature", form="g"),
        split=score.split,
    )
    heading = "Coherence and diversity" if part == "quality" else "Measured"
    parts: list[Part] = [Paragraph(text + verdicts(known), heading)]
    quality = run.score_with("quality")
    if quality and (kept := _relevance(quality)):
        parts.append(Paragraph(kept, "Relevance"))
    copied = run.score_with("memorisation")
    if copied:
        parts.append(Paragraph(_memory(copied, known), "Memorisation"))
    rows, groups, group = [(say("measure"), say("what it is"), say("told (95%)"), say("real (95%)"))], [], ""
    for one in known:
        if group and one.measure.group != group:
            groups.append(len(rows))
        group = one.measure.group
        meaning = say(one.measure.meaning, unit=material.unit)
        rows.append((say(one.measure.name), meaning, one.cell("told"), one.cell("real")))
    caption = say("Told stories beside real ones, and how much of either stands in train word for word.")
    return [*parts, Table("quality", caption, tuple(rows), "page", "llrr", tuple(groups))]


def verdicts(known: Sequence[Measured]) -> Text:
    """What the intervals allow to be said, measure by measure."""
    said = []
    by = {verdict: [one for one in known if one.verdict == verdict] for verdict in ("alike", "worse", "better")}
    if by["alike"]:
        said.append(say("No difference is seen in ") + _nouns(by["alike"], figures=False) + say("."))
    if by["worse"]:
        said.append(say("Told stories do worse in ") + _nouns(by["worse"], figures=True) + say("."))
    if by["better"]:
        said.append(say("Told stories do better in ") + _nouns(by["better"], figures=True) + say("."))
    return join(said)


def _nouns(some: Sequence[Measured], figures: bool) -> Text:
    texts = []
    for one in some:
        text = say(one.measure.noun)
        if figures:
            text += say(" (") + one.value("told") + say(" against ") + one.value("real") + say(")")
        texts.append(text)
    return join(texts, ", ", " and ")


def _read(marks: Source) -> Text:
    """How many stories failed in each way, the commonest first."""
    kinds = sorted(marks.get("kinds"), key=lambda kind: -marks.get("told", "failing", kind))
    counts = [
        say(
            "{told} ({real}) {kind}",
            told=marks.fact("told", "failing", kind),
            real=marks.fact("real", "failing", kind),
            kind=str(marks.get("kinds", kind, "short")),
        )
        for kind in kinds[:COMMON]
    ]
    text = say(
        "Of {told} told stories (of {real} real ones), read {readers}, ",
        told=marks.fact("told", "all", "read"),
        real=marks.fact("real", "all", "read"),
        readers=str(marks.get("readers")),
    )
    flawless = say(
        ". Flawless were {told} ({real}).",
        told=marks.fact("told", "all", "flawless"),
        real=marks.fact("real", "all", "flawless"),
    )
    return text + join(counts, ", ") + flawless + _grades(marks)


def _grades(marks: Source) -> Text:
    """The readers' mean grades, 0 to 10, if they gave any."""
    if not marks.get("told", "grades"):
        return ()
    given = [
        say(
            "{told} ({real}) for {criterion}",
            told=marks.fact("told", "grades", criterion, form=".1f"),
            real=marks.fact("real", "grades", criterion, form=".1f"),
            criterion=criterion,
        )
        for criterion in marks.get("told", "grades")
    ]
    return say(" On a scale from zero to ten they gave ") + join(given, ", ", " and ") + say(".")


def _relevance(score: Score) -> Text:
    """Whether continuations go with their own opening more than with those of others; nothing if there were too few to
    tell, since one opening has no others.
    """
    openings = ("quality", "openings")

    def shares(what: str) -> dict[str, Fact]:
        places = {"told": ("samples", "own"), "real": ("real", "own"), "chance": ("samples", "shuffled")}
        keys = {name: (*openings, side, what, prompts, "value") for name, (side, prompts) in places.items()}
        known = all(score.has(*key) for key in keys.values())
        return {name: score.fact(*key, form=".0%") for name, key in keys.items()} if known else {}

    names, objects = shares("names_kept"), shares("objects_kept")
    if not names:
        return ()
    text = say(
        "It also went on with the openings of real stories. Of the names in an opening, {told} come again (in the real"
        " continuation {real}; by chance, with the openings of others, {chance}).",
        **names,
    )
    if objects:
        text += say(" Of its rarer words, {told} do (real {real}; chance {chance}).", **objects)
    own, shuffled = (
        score.get(*openings, "samples", "names_kept", prompts, "interval_95") for prompts in ("own", "shuffled")
    )
    if not (own and shuffled):
        return text
    if own[0] > shuffled[1]:
        return text + say(" So it goes on with the story at hand, not with just any.")
    if own[1] <= 2 * shuffled[1]:
        return text + say(" That is hardly more than chance: it does not read its prompt.")
    return text + say(" Whether that is more than chance so few stories do not show.")


def _memory(score: Score, known: Sequence[Measured]) -> Text:
    whole = score.fact("memorisation", "samples", "whole_stories", form="d")
    text = (
        say("No told story stands in train as a whole.")
        if whole.value == 0
        else say("Of the told stories, {n} stand in train as a whole.", n=whole)
    )
    runs = [one for one in known if one.measure.group == "memorisation"]
    if all(score.has("memorisation", side, "longest_run", "longest") for side in ("samples", "control")):
        text += say(
            " The longest run of words that train has too is {told} words; in real stories that train has not, {real}.",
            told=score.fact("memorisation", "samples", "longest_run", "longest"),
            real=score.fact("memorisation", "control", "longest_run", "longest"),
        )
    if any(one.verdict == "worse" for one in runs):
        text += say(" It leans on stock phrases more than real stories do.")
    return text


def _samples(samples: Source, room: Room, unit: str) -> list[Part]:
    told, ended = samples.get("stories") or [], samples.get("ended")
    parts: list[Part] = []
    if told:
        text = say(
            "The first of {n} stories, begun without a prompt (temperature {temperature}, seed {seed}); nobody chose"
            " them.",
            n=samples.derived("count", ",", ("stories",)),
            temperature=samples.fact("settings", "temperature", form="g"),
            seed=samples.fact("settings", "seed", form="d"),
        )
        shown = [
            Story("", shorten(story, room.story_words), _note(samples, place, ended, unit))
            for place, story in enumerate(told[: room.stories])
        ]
        parts += [Paragraph(text, "Samples, unselected"), Stories(tuple(shown))]
    prompts = samples.get("completions", "prompts")
    if prompts and room.completions:
        kinds: dict[str, int] = {}
        for place, prompt in enumerate(prompts):
            kinds.setdefault(prompt["kind"], place)
        text = say(
            "Of each kind of our {n} prompts the first, and how it went on first (temperature {temperature}).",
            n=samples.derived("count", ",", ("completions", "prompts")),
            temperature=samples.fact("completions", "settings", "temperature", form="g"),
        )
        shown = [
            Story(
                prompts[place]["prompt"],
                shorten(prompts[place]["sampled"][0], room.completion_words),
                say("{kind}", kind=kind),
            )
            for kind, place in list(kinds.items())[: room.completions]
        ]
        parts += [Paragraph(text, "Completions, unselected"), Stories(tuple(shown))]
    return parts


def _note(samples: Source, place: int, ended: list[bool] | None, unit: str) -> Text:
    text = say("{n} words", n=samples.derived("words", ",", ("stories", place))) if unit == "word" else ()
    if ended is None:
        return text
    how = say("ended by itself") if ended[place] else say("cut at the limit")
    return (text + say(", ") if text else ()) + how


def shorten(text: str, words: int) -> str:
    """No more than so many words, or six times as many characters where words are not told apart."""
    text = text.strip()
    found = text.split(" ")
    if len(found) > words:
        text = " ".join(found[:words]).rstrip() + " …"
    return text if len(text) <= 8 * words else text[: 8 * words].rstrip() + " …"


def _attention(material: Material, svg: bytes) -> list[Part]:
    heads = material.subject.settings.derived("product", ",", ("model", "layers"), ("model", "heads"))
    text = say(
        "[fig:attention] shows where heads look while the model reads the beginning of its own first sample: of all"
        " {n} heads the one that takes most from the token before, the one that takes most from the beginning of the"
        " text, and the one that takes most from what lies between.",
        n=heads,
    )
    caption = say("Attention: each row is a token that takes from the tokens of its columns, the darker the more.")
    return [
        Paragraph(text, "Inside"),
        Figure("attention", caption, svg, "Three lower triangular matrices of attention weights.", "page"),
    ]
