"""What the model learned from: what it is, how much of it there is, how it was prepared."""

from tinytale.addons.report.paper.facts import Fact, Source, derive
from tinytale.addons.report.paper.material import Material
from tinytale.addons.report.paper.parts import Paragraph, Part, Section, Table
from tinytale.addons.report.paper.text import Text, say

UNIFORM = 0.1
"""Share of the stories with the same opening from which it is worth a word."""
SPLITS = ("train", "dev", "test")


def dataset(material: Material) -> Section:
    """The chapter; its table only where a survey or a manifest is at hand."""
    parts: list[Part] = []
    if material.tinystories:
        parts += _tinystories(material)
    parts.append(_preparation(material))
    if material.survey:
        parts.append(_surveyed(material, material.survey))
        parts.append(_found(material.survey))
    elif material.manifest:
        parts.append(_counted(material, material.manifest))
    return Section("Dataset and preprocessing", tuple(parts))


def _tinystories(material: Material) -> list[Part]:
    said = material.published
    parts: list[Part] = [
        Paragraph(
            say(
                "TinyStories [eldan2023] are short stories in words that small children understand, written by GPT-3.5"
                " and GPT-4. The name means several things: v1, {v1} stories; and V2, by GPT-4 alone.",
                v1=said.fact("corpus", "v1_stories"),
            )
        )
    ]
    if material.survey:
        size = (("train", "bytes"), ("train", "tokens"))
        keys = [("splits", *key) for key in size]
        tokens = derive(
            "scaled", "millions", (said, ("corpus", "v2_bytes")), *((material.survey, key) for key in keys[::-1])
        )
        times = derive(
            "scaled ratio",
            ".0f",
            (said, ("corpus", "v2_bytes")),
            *((material.survey, key) for key in keys[::-1]),
            (said, ("course", "tokens")),
        )
        parts.append(
            Paragraph(
                say(
                    "The course text speaks of {stories} stories and {tokens} tokens. The stories are V2's. The tokens"
                    " cannot be: V2's train file has {bytes} bytes, which at the {rate} bytes a token of our"
                    " vocabulary are some {there} tokens, {times} times as many.",
                    stories=said.fact("course", "stories", form="millions"),
                    tokens=said.fact("course", "tokens", form="millions"),
                    bytes=said.fact("corpus", "v2_bytes"),
                    rate=material.survey.fact("splits", "train", "bytes_per_token", form=".2f"),
                    there=tokens,
                    times=times,
                )
                + _sample(material, material.survey),
                "What the corpus holds",
            )
        )
    return parts


def _sample(material: Material, survey: Source) -> Text:
    """Where the text of this run is from, as its notes tell it."""
    if not (material.notes and material.notes.get("v2_share") is not None):
        return ()
    return say(
        " Ours is a sample of about the tokens that the course text names: {train} train stories, {share} of them from"
        " V2, and as test the first {test} of V2's validation file. It was freed of exact copies beforehand, so its"
        " zeros in [tab:data] say nothing about the whole.",
        train=survey.fact("splits", "train", "stories"),
        share=material.notes.fact("v2_share", form=".0%"),
        test=survey.fact("splits", "test", "stories"),
    )


def _preparation(material: Material) -> Part:
    run = material.subject
    vocabulary = run.settings.fact("model", "vocab_size")
    text = say(
        "Every story is opened and closed by `<|endoftext|>`. GPT-2's pattern splits text into words, and byte-level"
        " BPE [sennrich2016] makes tokens of them, with a vocabulary of {vocabulary}",
        vocabulary=vocabulary,
    )
    manifest = material.manifest
    known = manifest.get("settings", "tokenizer") if manifest else None
    trained = (manifest and known is None) or (material.survey and vocabulary.value not in (50_257,))
    text += say(" that was learned from train alone. " if trained else ". ")
    text += say(
        "A hash of each story decides whether it goes to _dev_, which chooses settings and the best weights; _test_ is"
        " only ever scored. Exact copies of test stories are left out of train"
    )
    removed: Fact | None = None
    if material.survey and material.survey.get("removed_duplicates_of_test") is not None:
        removed = material.survey.fact("removed_duplicates_of_test")
    elif manifest:
        removed = manifest.fact("removed", "duplicates_of_test")
    text += say(" ({removed} here).", removed=removed) if removed else say(".")
    places = ((material.notes, ("rename",)), (manifest, ("settings", "rename")))
    renamed = next((source.fact(*key, form=".0%") for source, key in places if source and source.get(*key)), None)
    if renamed:
        text += say(
            " In {share} of the train stories names are replaced by rare ones, so that the model learns to copy them.",
            share=renamed,
        )
    text += (
        say(
            " The dataset is known by its SHA-256, `{digest}…`, and the batch of a step depends on that, the seed and"
            " the step alone, so an interrupted run resumes to the bit.",
            digest=run.config.data.digest[:12],
        )
        if run.config.data.digest
        else ()
    )
    return Paragraph(text, "Preprocessing")


def _surveyed(material: Material, survey: Source) -> Part:
    splits = [split for split in SPLITS if survey.get("splits", split)]

    def row(name: Text, *key: str, form: str) -> tuple[Text, ...]:
        cells = [
            say("{n}", n=survey.fact("splits", split, *key, form=form))
            if survey.get("splits", split, *key) is not None
            else say("–")
            for split in splits
        ]
        return (name, *cells)

    unit = str(survey.get("unit") or "word")
    context = str(material.subject.config.model.context_length)
    longer = (
        [
            row(
                say("longer than {n} tokens", n=material.subject.settings.fact("model", "context_length")),
                "longer_than",
                context,
                "share",
                form=".1%",
            )
        ]
        if survey.get("splits", "train", "longer_than", context)
        else []
    )
    rows = [
        (say(""), *(say(split) for split in splits)),
        row(say("stories"), "stories", form=","),
        row(say("megabytes"), "bytes", form="mega"),
        row(say("tokens"), "tokens", form="short"),
        row(say("bytes a token"), "bytes_per_token", form=".2f"),
        row(say("tokens a story, median"), "story_tokens", "median", form=",.0f"),
        row(say("{unit}s a story, mean", unit=unit), "words", "mean", form=",.0f"),
        *longer,
        row(say("with a near duplicate in train"), "near_duplicates_in_train", "share", form=".1%"),
        row(
            say("{n}-{unit} sequences in train", n=survey.fact("overlap_words"), unit=unit),
            "sequences_in_train",
            "share",
            form=".1%",
        ),
        row(say("without closing punctuation"), "open_ends", "share", form=".1%"),
    ]
    return Table(
        "data", say("The dataset `{name}`, as surveyed by `tinytale data`.", name=material.subject.dataset), tuple(rows)
    )


def _found(survey: Source) -> Part:
    """What the survey found wrong."""
    text: Text = ()
    share = survey.fact("splits", "train", "openings", 0, "share", form=".0%")
    if share.value >= UNIFORM:
        text += say(
            "It is uniform: {share} of the train stories open with “{opening}”. ",
            share=share,
            opening=str(survey.get("splits", "train", "openings", 0, "opening")),
        )
    if survey.get("splits", "test", "sequences_in_train"):
        text += say(
            "{share} of the {n}-{unit} sequences of the test stories stand in train as well: stock phrases, which any"
            " measure of copying has to allow for.",
            share=survey.fact("splits", "test", "sequences_in_train", "share", form=".1%"),
            n=survey.fact("overlap_words"),
            unit=str(survey.get("unit")),
        )
    return Paragraph(text, "What to beware of")


def _counted(material: Material, manifest: Source) -> Part:
    splits = [split for split in SPLITS if manifest.get("splits", split, "stories")]
    rows = [
        (say(""), *(say(split) for split in splits)),
        *(
            (say(name), *(say("{n}", n=manifest.fact("splits", split, key, form=form)) for split in splits))
            for name, key, form in (
                ("stories", "stories", ","),
                ("megabytes", "bytes", "mega"),
                ("tokens", "tokens", "short"),
            )
        ),
        (
            say("bytes a token"),
            *(
                say("{n}", n=manifest.derived("ratio", ".2f", ("splits", split, "bytes"), ("splits", split, "tokens")))
                for split in splits
            ),
        ),
    ]
    return Table("data", say("The dataset `{name}`, from its manifest.", name=material.subject.dataset), tuple(rows))
