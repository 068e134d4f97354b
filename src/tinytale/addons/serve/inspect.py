"""`tinytale inspect`: look inside a model while it reads a text."""

from pathlib import Path

from tinytale.commands.options import check_file, load_weights, need, print_json
from tinytale.console import console
from tinytale.errors import UsageError
from tinytale.files import write_bytes, write_text
from tinytale.runs import find_folder, model_folder


def inspect(folder: str, text: str, *, html: Path | None = None, png: Path | None = None, json: bool = False) -> None:
    """Look inside a model while it reads a text.

    You see what surprised it, what it expected, what each layer would have said, and where each attention head looked.
    The numbers are of the textbook path. Without --html or --png, a table of the tokens is printed.

    Parameters
    ----------
    folder
        A run, a GPT-2 folder in Hugging Face's layout, or the name of shipped weights.
    text
        What the model reads, from the beginning of a story.
    html
        Write a page with everything, one file that needs nothing else.
    png
        Draw a figure, for a lecture or a report.
    json
        Print all numbers as one JSON object.
    """
    if not text:
        raise UsageError("there is no text; give some words of a story")
    check_file(html, "page")
    check_file(png, "figure")
    need(["matplotlib"] * bool(png), "report", "--png")
    weights = model_folder(find_folder(folder))

    from tinytale.addons.inspection.page_data import page_data
    from tinytale.addons.inspection.table import look_table
    from tinytale.addons.serve.look_page import look_page

    model, tokenizer = load_weights(weights, "cpu", "textbook", whole_vocabulary=False)
    data = page_data(model, tokenizer, [tokenizer.end_of_text, *tokenizer.encode(text)])
    note = f"{folder}: {model.config.layers} layers, {model.config.heads} heads, {model.parameter_count():,} weights"
    if html:
        write_text(html, look_page(data, "Look inside", note))
    if png:
        from tinytale.addons.inspection.figure import look_figure

        write_bytes(png, look_figure(data, "Look inside", note))
    if json:
        print_json(data)
    elif not (html or png):
        console.print(look_table(data))
    if html:
        console.print(f"Written to {html}; open it in a browser")
    if png:
        console.print(f"Drawn in {png}")
