"""The model and its mathematics, every symbol defined where it first stands."""

from tinytale.addons.report.paper.chapters.room import Room
from tinytale.addons.report.paper.diagram import model_diagram
from tinytale.addons.report.paper.facts import Fact
from tinytale.addons.report.paper.material import Material, RunMaterial
from tinytale.addons.report.paper.parts import Display, Figure, Paragraph, Part, Section
from tinytale.addons.report.paper.text import say

WHEN = {"pre": "before", "post": "after"}


def implementation(material: Material, room: Room) -> Section:
    """What the model computes, from tokens to the distribution of the next one."""
    run = material.subject
    return Section(
        "Implementation",
        (
            _notation(run, room),
            *_embedding(run),
            *_attention(),
            *_feed_forward(),
            *_residual(run),
            *_output(run),
            *_diagram(material, room),
            _kernels(),
        ),
    )


def _diagram(material: Material, room: Room) -> list[Part]:
    if not room.diagram:
        return []
    config = material.subject.config.model
    svg = material.drawn("model", lambda: model_diagram(config)) or b""
    caption = say("The model, and one of its blocks: both sub-layers add to the stream of $x$. LN is LayerNorm.")
    alt = "Boxes from embedding over blocks to the output; a block with attention and feed-forward beside a stream."
    return [Figure("model", caption, svg, alt)]


def _notation(run: RunMaterial, room: Room) -> Part:
    def shape(name: str) -> Fact:
        return run.settings.fact("model", name)

    return Paragraph(
        say(
            "GPT-2 [radford2019] is a stack of decoder blocks [vaswani2017]; ours is written in single tensor"
            " operations, without a ready-made layer of any library. $V$ is the size of the vocabulary (here"
            " {vocabulary}), $T$ the context in tokens ({context}), $C$ the width of the vectors ({width}), $H$ the"
            " number of heads ({heads}), $D = C\\/H$ the size of one ({size}), $L$ the number of blocks ({layers})."
            " That makes {parameters} learned numbers. Vectors are rows; a layer reads $x$ and gives $y$, with"
            " matrices $W$ and vectors $b$ and $g$ that it learns.",
            vocabulary=shape("vocab_size"),
            context=shape("context_length"),
            width=shape("width"),
            heads=shape("heads"),
            layers=shape("layers"),
            size=run.settings.derived("ratio", ".0f", ("model", "width"), ("model", "heads")),
            parameters=run.weights.fact("parameters"),
        )
        + (say(" [fig:model] shows the whole.") if room.diagram else ())
    )


def _embedding(run: RunMaterial) -> list[Part]:
    learned = run.config.model.positions == "learned"
    formula = "h_t^0 = W_e [x_t] + W_p [t]" if learned else "h_t^0 = sqrt(C) thin W_e [x_t] + p_t"
    rest = (
        "with $W_p in RR^(T times C)$: the position $t$ is learned like the token."
        if learned
        else "with fixed waves for the position $t$, $p_(t, 2i) = sin(t\\/10000^(2i\\/C))$ and"
        " $p_(t, 2i+1) = cos(t\\/10000^(2i\\/C))$, as in the original Transformer."
    )
    return [
        Paragraph(
            say(
                "A text is a row of token numbers $x_1, ..., x_T$. Each has a row of $W_e in RR^(V times C)$, and so"
                " the stream $h$ begins:"
            ),
            "Embedding",
        ),
        Display(formula),
        Paragraph(say(rest)),
    ]


def _attention() -> list[Part]:
    return [
        Paragraph(
            say(
                "Queries $Q$, keys $K$ and values $V$ hold a row for each position. Every position takes from those up"
                " to itself, in shares that softmax makes of the products of its query with their keys:"
            ),
            "Attention",
        ),
        Display('op("Attention")(Q, K, V) = op("softmax") ((Q K^top) / sqrt(D) + M) V'),
        Paragraph(
            say(
                '$op("softmax")(z)_i = e^(z_i) \\/ sum_j e^(z_j)$ works along each row;'
                " the mask $M_(t s)$ is $0$ for $s <= t$ and $-oo$ for later positions $s > t$, so that nothing is seen"
                ' before it is said. One product makes the queries, keys and values of all heads; $"head"_i$ is what'
                " attention gives in the $i$-th $D$ columns of each, and a last product mixes the heads:"
            )
        ),
        Display('[Q med K med V] = x W_"qkv" + b_"qkv", quad y = ["head"_1 ... "head"_H] thin W_o + b_o'),
    ]


def _feed_forward() -> list[Part]:
    return [
        Paragraph(
            say(
                "At every position the same network, four times as wide inside, with GELU [hendrycks2016] entry by"
                " entry:"
            ),
            "Feed-forward",
        ),
        Display('y = op("GELU")(x W_1 + b_1) thin W_2 + b_2'),
        Display('op("GELU")(u) = u/2 (1 + tanh (sqrt(2\\/pi) thin (u + 0.044715 u^3)))'),
    ]


def _residual(run: RunMaterial) -> list[Part]:
    norm, positions = run.config.model.norm, run.config.model.positions
    return [
        Paragraph(
            say(
                "With mean $mu$ and variance $sigma^2$ of the $C$ numbers of one position and a small constant"
                " $epsilon$, and $dot.o$ for the product entry by entry [ba2016]:"
            ),
            "LayerNorm and residual blocks",
        ),
        Display('op("LN")(x) = (x - mu) / sqrt(sigma^2 + epsilon) dot.o g + b'),
        Paragraph(
            say(
                "Attention and feed-forward, each a sub-layer $f$, add to a stream [he2016]. GPT-2 normalises before"
                " them and leaves the stream itself alone, which trains more easily [xiong2020]; the original"
                " Transformer normalises after the sum:"
            )
        ),
        Display('"pre:" quad x <- x + f(op("LN")(x)), quad "post:" quad x <- op("LN")(x + f(x))'),
        Paragraph(
            say(
                f"Both are settings, as are learned and sinusoidal positions; this run normalises {WHEN[norm]}, and"
                f" its positions are {positions}."
            )
        ),
    ]


def _output(run: RunMaterial) -> list[Part]:
    last = 'op("LN")(h_t^L)' if run.config.model.norm == "pre" else "h_t^L"
    return [
        Paragraph(
            say(
                "After the last block, the embedding the other way round [press2017] gives the probability of each next"
                " token $v$:"
            ),
            "Output and initialisation",
        ),
        Display(f'P(x_(t+1) = v | x_1, ..., x_t) = op("softmax")({last} thin W_e^top)_v'),
        Paragraph(
            say(
                "Matrices begin as draws from $cal(N)(0, 0.02^2)$. The $2L$ that write into the stream are drawn with a"
                " standard deviation of $0.02\\/sqrt(2L)$, so that it does not grow with depth. Biases begin at $0$,"
                " gains at $1$."
            )
        ),
    ]


def _kernels() -> Part:
    return Paragraph(
        say(
            "The formulas are in the code as they stand here. Fused and native kernels compute the same faster, and"
            " tests hold them to these formulas, in values and gradients; others hold logits, gradients and a step of"
            " AdamW to Hugging Face's implementation, and causality by an exact zero in the gradient."
        ),
        "Exactness",
    )
