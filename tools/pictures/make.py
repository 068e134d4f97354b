"""Make the pictures of this folder anew: the page and the terminal, as a person sees them.

    python tools/pictures/make.py RUN --dataset DATASET

RUN is a finished run, for its curves and stories; DATASET is what the picture of a training trains on for some steps.
Needs Chromium, tmux and the extra `dev`. Everything is real: the server serves `weights/small` and RUN, and the
commands run in a terminal. What differs from time to time is the speed that is shown. `--only NAME` makes some of them;
the recording is of `python3 run.py` in a clone, which sets itself up and takes ten minutes.
"""

import argparse
import io
import os
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

from recording import recorded
from terminal import drawn, session, with_tinytale

ROOT = Path(__file__).parents[2]
HERE = ROOT / "docs/pictures"
LARGEST, RECORDING, TOGETHER = 200_000, 500_000, 1_600_000
"""Bytes: of a picture, of the recording, and of all."""
DESK, PHONE = ViewportSize(width=1200, height=860), ViewportSize(width=390, height=844)
KINDS: dict[str, tuple[ViewportSize, Literal["light", "dark"]]] = {
    "light": (DESK, "light"),
    "dark": (DESK, "dark"),
    "phone": (PHONE, "light"),
}
PROMPT = "Once upon a time, there was a little fox who could not sleep."
TEXT = (
    "Lily lost her red ball. She looked under the bed and behind the door, but it was not there. Then her dog Max came"
    " with the ball in his mouth."
)


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
                *_, (_, shown) = session(Path(folder), command, patience, with_tinytale(Path(folder)))
                save(name, drawn(browser, f"\x1b[1m$ {command}\x1b[0m\n{shown}"))
        if "figure-look".startswith(asked.only):
            save("figure-look", figure(Path(folder)))
        if "recording".startswith(asked.only):
            gif, speed = recorded(browser, clone(Path(folder)), "python3 run.py", 1800)
            (HERE / "recording.gif").write_bytes(gif)
            print(f"recording.gif: {speed:.0f} times as fast as it was")
    pictures = sorted(HERE.glob("*.png")) + sorted(HERE.glob("*.gif"))
    sizes = {picture.name: picture.stat().st_size for picture in pictures}
    for name, size in sizes.items():
        print(f"{size:9,}  {name}")
    large = [name for name, size in sizes.items() if size > (RECORDING if name.endswith(".gif") else LARGEST)]
    if large or sum(sizes.values()) > TOGETHER:
        sys.exit(
            f"too large: {LARGEST:,} bytes a picture, {RECORDING:,} the recording, {TOGETHER:,} together are allowed"
        )


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
        "tinytale train datasets/tinystories --recipe pocket --out runs/second --max-steps 240 --run.evaluate-every 60"
        " --run.evaluate-tokens 8192",
        900,
    ),
    "terminal-evaluate": ("tinytale evaluate runs/first --data datasets/tinystories --split dev", 240),
    "terminal-generate": (f"tinytale generate small '{PROMPT}' --max-new-tokens 130", 120),
    "terminal-inspect": ("tinytale inspect small 'Lily lost her red ball. She looked under the bed.'", 120),
}
"""Each with the seconds that it may take."""


def clone(folder: Path) -> Path:
    """This project as a newcomer has it: without an environment, datasets and runs."""
    there = folder / "tinytale"
    subprocess.run(["git", "clone", "--quiet", ROOT, there], check=True)
    return there


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
