"""Make the pictures of this folder anew: the page and the terminal, as a person sees them.

    python docs/pictures/make.py RUN --dataset DATASET

RUN is a finished run, for its curves and stories; DATASET is what the picture of a training trains on for some steps.
Needs Chromium, tmux and the extra `dev`. Everything is real: the server serves `weights/small` and RUN, and the
commands run in a terminal. What differs from time to time is the speed that is shown.
"""

import argparse
import io
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LARGEST, TOGETHER = 200_000, 1_500_000
"""Bytes: of a picture, and of all."""
DESK, PHONE = ViewportSize(width=1200, height=860), ViewportSize(width=390, height=844)
KINDS: dict[str, tuple[ViewportSize, Literal["light", "dark"]]] = {
    "light": (DESK, "light"),
    "dark": (DESK, "dark"),
    "phone": (PHONE, "light"),
}
COLUMNS, ROWS = 92, 34
"""Of the terminal."""
PROMPT = "Once upon a time, there was a little fox who could not sleep."
TEXT = (
    "Lily lost her red ball. She looked under the bed and behind the door, but it was not there. Then her dog Max came"
    " with the ball in his mouth."
)
THEME = TerminalTheme(
    (25, 27, 32), (236, 231, 222),
    [(59, 63, 73), (224, 108, 91), (136, 190, 122), (240, 190, 110),
     (110, 170, 230), (200, 140, 210), (110, 200, 205), (236, 231, 222)],
)  # fmt: skip
TERMINAL = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; display: inline-block; background: #191b20; }}
pre {{ margin: 0; padding: 18px 22px; color: #ece7de; font: 15px/1.165 "DejaVu Sans Mono", monospace; }}
</style><pre>{code}</pre>"""


def main() -> None:
    """Make all pictures, and say how large they are."""
    options = argparse.ArgumentParser(description="Make the pictures of docs/pictures anew.")
    options.add_argument("run", type=Path)
    options.add_argument("--dataset", type=Path, required=True)
    options.add_argument("--only", default="", help="only pictures whose name begins so")
    asked = options.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not chromium or not shutil.which("tmux"):
        sys.exit("this needs Chromium and tmux; on Debian: apt install chromium tmux")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        runs = Path(folder) / "runs"  # the names that the pictures show
        runs.mkdir()
        (runs / "first").symlink_to(asked.run.resolve())
        (Path(folder) / "datasets").mkdir()
        (Path(folder) / "datasets" / "tinystories").symlink_to(asked.dataset.resolve())
        if "page".startswith(asked.only) or asked.only.startswith("page"):
            with served(Path(folder), "small", "runs/first") as url:
                take_page(browser, url, asked.only)
        for name, (command, patience) in COMMANDS.items():
            if name.startswith(asked.only):
                save(name, terminal(browser, Path(folder), command, patience))
        if "figure-look".startswith(asked.only):
            save("figure-look", figure(Path(folder)))
    pictures = sorted(HERE.glob("*.png"))
    sizes = {picture.name: picture.stat().st_size for picture in pictures}
    for name, size in sizes.items():
        print(f"{size:9,}  {name}")
    if max(sizes.values()) > LARGEST or sum(sizes.values()) > TOGETHER:
        sys.exit(f"too large: {LARGEST:,} bytes a picture and {TOGETHER:,} together are allowed")


# --- The page ---------------------------------------------------------------------------------------------------------


@contextmanager
def served(folder: Path, *names: str) -> Iterator[str]:
    """The address of a server of these models, in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tinytale", "serve", *names, "--port", str(port)]
    process = subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT / "src")})
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with suppress(OSError), urllib.request.urlopen(f"{url}/health"):
                break
            if process.poll() is not None:
                sys.exit("the server has ended")
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def write(page: Page) -> None:
    """A story, told."""
    page.get_by_label("How the story begins").fill(PROMPT)
    page.get_by_label("Max tokens").fill("130")
    page.get_by_role("button", name="Write", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("told", timeout=60_000)


def compare(page: Page) -> None:
    """Two settings side by side."""
    page.get_by_label("How the story begins").fill(PROMPT)
    page.get_by_label("Max tokens").fill("90")
    page.get_by_role("button", name="Side by side").click()
    page.get_by_label("Model").nth(1).select_option("runs/first")
    page.get_by_role("button", name="Write", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("told", timeout=60_000)


def look(page: Page) -> None:
    """A token opened."""
    page.get_by_label("A text for the model to read").fill(TEXT)
    page.get_by_role("button", name="Look inside").click()
    expect(page.get_by_role("option", name="Max")).to_be_visible(timeout=60_000)
    page.get_by_role("group", name="Layer").get_by_role("button", name="3", exact=True).click()
    page.get_by_role("group", name="Head").get_by_role("button", name="1", exact=True).click()
    page.get_by_role("option", name="mouth").click()
    page.mouse.move(0, 0)


def tokens(page: Page) -> None:
    """The text that the view begins with."""
    expect(page.locator(".tokens li").nth(20)).to_be_visible()


def training(page: Page) -> None:
    """The run's curves, and what it told half-way."""
    page.get_by_label("Run").select_option("runs/first")
    slider = page.get_by_role("slider")
    expect(slider).to_be_visible()
    slider.press("ArrowLeft")


VIEWS = {"write": write, "compare": compare, "look": look, "tokens": tokens, "training": training}


def take_page(browser: Browser, url: str, only: str) -> None:
    """Every view in light, in dark, and on a phone."""
    for name, act in VIEWS.items():
        for kind, (viewport, scheme) in KINDS.items():
            if not f"page-{name}-{kind}".startswith(only):
                continue
            view = "write" if name == "compare" else name
            context = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
            page = context.new_page()
            page.goto(f"{url}/#{view}")
            act(page)
            page.evaluate("document.activeElement.blur()")
            save(f"page-{name}-{kind}", page.screenshot(full_page=kind == "phone" or name != "write"))
            context.close()


# --- The terminal -----------------------------------------------------------------------------------------------------

COMMANDS = {
    "terminal-train": (
        "tinytale train datasets/tinystories --recipe pocket --out runs/second --model.layers 2 --model.width 64"
        " --model.context-length 128 --data.batch-size 8 --max-steps 240 --run.evaluate-every 60"
        " --run.evaluate-tokens 8192",
        240,
    ),
    "terminal-evaluate": ("tinytale evaluate runs/first --data datasets/tinystories --split dev", 240),
    "terminal-generate": (f"tinytale generate small '{PROMPT}' --max-new-tokens 120", 120),
    "terminal-inspect": ("tinytale inspect small 'Lily lost her red ball. She looked under the bed.'", 120),
}
"""Each with the seconds that it may take."""


def terminal(browser: Browser, folder: Path, command: str, patience: int) -> bytes:
    """What a terminal shows once a command has run in it, as a picture."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    tale = bin_folder / "tinytale"
    tale.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tinytale "$@"\n')
    tale.chmod(0o755)
    socket_name = f"pictures-{os.getpid()}"
    environment = os.environ | {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
    }

    def tmux(*arguments: str) -> str:
        call = ["tmux", "-L", socket_name, "-f", os.devnull, *arguments]
        return subprocess.run(call, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout

    tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), f"{command}; printf '$ '; exec sleep 1000")
    try:
        deadline = time.monotonic() + patience
        while not tmux("capture-pane", "-p").rstrip().endswith("$"):
            if time.monotonic() > deadline:
                sys.exit(f"not done after {patience} seconds: {command}")
            time.sleep(1)
        shown = tmux("capture-pane", "-e", "-p", "-J").rstrip().removesuffix("$").rstrip()
    finally:
        tmux("kill-server")
    return drawn(browser, f"\x1b[1m$ {command}\x1b[0m\n{shown}")


def drawn(browser: Browser, ansi: str) -> bytes:
    """Text with the terminal's colours, as Chromium draws it."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(ansi), end="")
    page = browser.new_page(device_scale_factor=1.25, viewport={"width": 100, "height": 100})
    page.set_content(console.export_html(theme=THEME, inline_styles=True, code_format=TERMINAL))
    picture = page.locator("body").screenshot()
    page.close()
    return picture


def figure(folder: Path) -> bytes:
    """What `tinytale inspect --png` draws."""
    command = [sys.executable, "-m", "tinytale", "inspect", "small", TEXT, "--png", "look.png"]
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, check=True)
    return (folder / "look.png").read_bytes()


def save(name: str, png: bytes) -> None:
    """Write a picture with at most 256 colours, or 64 where it would be too large."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (256, 64):
        small = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
        if small.tell() <= LARGEST:
            break
    (HERE / f"{name}.png").write_bytes(small.getvalue())


if __name__ == "__main__":
    main()
