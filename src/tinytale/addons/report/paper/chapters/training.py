"""How the run was trained: the loss, the optimisers with their mathematics, the settings."""

from collections.abc import Iterator

from tinytale.addons.report.paper.facts import derive
from tinytale.addons.report.paper.material import RunMaterial
from tinytale.addons.report.paper.parts import Display, Paragraph, Part, Section, Table
from tinytale.addons.report.paper.text import Text, say

SCHEDULES = {
    "linear": "then falls in a straight line",
    "cosine": "then falls as half a cosine [loshchilov2017]",
    "constant": "and stays there",
}


def training(run: RunMaterial) -> Section:
    """The chapter."""
    muon = run.config.optimiser.algorithm == "muon"
    return Section(
        "Training",
        (
            Paragraph(say("Cross-entropy of the next token, over the $N$ tokens of a step, divided once:"), "Loss"),
            Display("cal(L) = -1/N sum_(n=1)^N ln P(x_(n+1) | x_1, ..., x_n)"),
            *(_muon(run) if muon else []),
            *_adamw(run, muon),
            _schedule(run),
            Table(
                "training", say("The training run; all settings are in its `config.toml`."), tuple(_settings(run, muon))
            ),
        ),
    )


def _muon(run: RunMaterial) -> list[Part]:
    decay = run.config.optimiser.matrix_weight_decay > 0
    return [
        Paragraph(
            say(
                "Every matrix inside the blocks moves by Muon [jordan2024] (queries, keys and values as three). For a"
                " gradient $G$ of $R times C'$ entries, its moving average $m$ with momentum $beta$, and a rate $eta$,"
            ),
            "Muon",
        ),
        Display("m <- beta m + (1 - beta) G, quad X <- (beta m + (1 - beta) G) \\/ norm(dot)_F,"),
        Display('X <- a X + (b A + c A^2) X, quad A = X X^top quad ("five times"),'),
        Display(f"W <- {'(1 - eta lambda) ' if decay else ''}W - eta sqrt(max(1, R\\/C')) thin X"),
        Paragraph(
            say(
                "where $norm(dot)_F$ is the norm of what is divided and $(a, b, c) = (3.4445, -4.7750, 2.0315)$. These"
                " Newton–Schulz steps bring all singular values of $X$ near $1$: the update goes equally far in every"
                " direction."
            )
            + (say(" Besides, every matrix decays, at $lambda$.") if decay else ())
        ),
    ]


def _adamw(run: RunMaterial, muon: bool) -> list[Part]:
    decay = run.config.optimiser.weight_decay > 0
    what = "Embeddings, gains and biases $w$ move by AdamW" if muon else "Every weight $w$ moves by AdamW"
    tail = " + lambda w" if decay else ""
    return [
        Paragraph(
            say(
                f"{what} [loshchilov2019]: at step $s$, with gradient $g$, its moving average $m$ and that of"
                f" its square, $v$,"
            ),
            "AdamW",
        ),
        Display("m <- beta_1 m + (1 - beta_1) g, quad v <- beta_2 v + (1 - beta_2) g^2,"),
        Display(f"w <- w - eta ((m \\/ (1 - beta_1^s)) / (sqrt(v \\/ (1 - beta_2^s)) + epsilon){tail})"),
        Paragraph(
            say("with a rate $eta$, decay rates $beta_1$, $beta_2$ and a small constant $epsilon$.")
            + (say(" The decay $lambda$ spares gains and biases.") if decay else ())
        ),
    ]


def _schedule(run: RunMaterial) -> Part:
    optimiser, settings = run.config.optimiser, run.settings
    text = say(
        f"The rate climbs for {{warmup}} steps to its peak, {SCHEDULES[optimiser.schedule]}",
        warmup=settings.fact("optimiser", "warmup_steps"),
    )
    if optimiser.schedule != "constant":
        text += (
            say(" to {final} of it.", final=settings.fact("optimiser", "final_fraction", form=".0%"))
            if optimiser.final_fraction
            else say(" to nothing.")
        )
    else:
        text += say(".")
    if optimiser.average_decay:
        text += say(" What is scored and published is a moving average of the weights [polyak1992].")
    if run.best_look is not None:
        text += say(
            " The weights that are published are those with the lowest loss on dev, of step {step}.",
            step=run.metrics.fact(run.best_look, "step"),
        )
    return Paragraph(text)


def _settings(run: RunMaterial, muon: bool) -> Iterator[tuple[Text, ...]]:
    settings, metrics = run.settings, run.metrics
    yield say(""), say("")
    if run.config.recipe:
        yield say("recipe"), say("`{name}`", name=run.config.recipe)
    steps, tokens, seconds = (run.last(name) for name in ("loss", "tokens", "seconds"))
    if steps:
        yield say("steps"), say("{n}", n=metrics.fact(steps[0], "step"))
    batch = settings.fact("data", "batch_size")
    length = settings.fact(
        *(("data", "sequence_length") if run.config.data.sequence_length else ("model", "context_length"))
    )
    yield say("a step"), say("{batch} sequences of {length} tokens", batch=batch, length=length)
    if run.config.run.start_from:
        yield say("began with the weights of"), say("`{name}`", name=run.config.run.start_from)
    if run.config.run.teacher:
        weight = settings.fact("run", "teacher_weight", form="g")
        yield say("teacher"), say("`{name}`, weight {weight}", name=run.config.run.teacher, weight=weight)
    if tokens:
        yield say("tokens seen"), say("{n}", n=metrics.fact(*tokens, form="short")) + _after(run, "tokens", "short")
    yield say("passes over train"), say("{n}", n=settings.fact("run", "epochs", form="g"))
    if run.config.run.max_steps is not None:
        yield say("steps at most"), say("{n}", n=settings.fact("run", "max_steps"))
    peaks = ["learning_rate"]
    if muon:
        yield (
            say("Muon: $eta$, $beta$"),
            say(
                "{rate}, {momentum}",
                rate=settings.fact("optimiser", "matrix_learning_rate", form="g"),
                momentum=settings.fact("optimiser", "matrix_momentum", form="g"),
            ),
        )
    if run.config.optimiser.embedding_learning_rate:
        peaks.append("embedding_learning_rate")
    for name in peaks:
        label = "AdamW: $eta$" if name == "learning_rate" else "AdamW: $eta$ of embeddings"
        yield say(label), say("{rate}", rate=settings.fact("optimiser", name, form="g"))
    yield (
        say("AdamW: $beta_1$, $beta_2$"),
        say(
            "{one}, {two}",
            one=settings.fact("optimiser", "betas", 0, form="g"),
            two=settings.fact("optimiser", "betas", 1, form="g"),
        ),
    )
    named = [("model", "dropout", "dropout"), ("optimiser", "weight_decay", "weight decay, AdamW")]
    if muon and run.config.optimiser.matrix_weight_decay:
        named.append(("optimiser", "matrix_weight_decay", "weight decay, Muon"))
    if run.config.optimiser.average_decay:
        named.append(("optimiser", "average_decay", "decay of the averaged weights"))
    named.append(("optimiser", "clip_norm", "gradient clipped at norm"))
    for section, key, label in named:
        if settings.get(section, key) is not None:
            yield say(label), say("{n}", n=settings.fact(section, key, form="g"))
    yield say("seed"), say("{n}", n=settings.fact("run", "seed", form="d"))
    if seconds:
        yield say("training time"), say("{n}", n=metrics.fact(*seconds, form="clock")) + _after(run, "seconds", "clock")


def _after(run: RunMaterial, field: str, form: str) -> Text:
    """What the first weights had cost."""
    places = run.spent_before(field)
    return say(", after {n}", n=derive("sum" if len(places) > 1 else "value", form, *places)) if places else ()
