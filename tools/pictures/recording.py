"""A terminal recording: what a real command shows, sped up, as an animated picture."""

import io
import os
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from terminal import COLUMNS, drawn, session

ROWS = 30
SECONDS, A_SECOND = 20, 6
"""How long the recording is at most, and the frames in each second of it."""
LAST_SECONDS = 6
"""So long it shows how the command has ended."""
COLOURS = 32


def recorded(browser: Browser, folder: Path, command: str, patience: float) -> tuple[bytes, float]:
    """A GIF of the command, run in this folder, and how many times as fast as it was it shows it.

    The folder is shown as if it were in the person's home.
    """
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    seen = [
        (seconds, text.replace(str(folder), f"~/{folder.name}"))
        for seconds, text in session(folder, command, patience, bare, ROWS, every=0.3)
    ]
    speed = max(1.0, seen[-1][0] / SECONDS)
    shown: list[tuple[float, str]] = []
    for seconds, text in seen:
        at = seconds / speed
        if text and (not shown or text != shown[-1][1]):
            if shown and at - shown[-1][0] < 1 / A_SECOND:
                shown[-1] = (shown[-1][0], text)
            else:
                shown.append((at, text))
    ends = [at for at, _ in shown[1:]] + [shown[-1][0] + LAST_SECONDS]
    frames = [_frame(browser, command, text) for _, text in shown]
    palette = _beside(frames[:: len(frames) // 12 + 1]).quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
    first, *others = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    gif = io.BytesIO()
    lasting = [round(1000 * (end - at)) for end, (at, _) in zip(ends, shown, strict=True)]
    first.save(gif, "GIF", save_all=True, append_images=others, duration=lasting, loop=0, optimize=True)
    return gif.getvalue(), speed


def _beside(frames: list[Image.Image]) -> Image.Image:
    """One picture of all, so that a palette has the colours of all."""
    width, height = frames[0].size
    strip = Image.new("RGB", (width * len(frames), height))
    for place, frame in enumerate(frames):
        strip.paste(frame, (place * width, 0))
    return strip


def _frame(browser: Browser, command: str, text: str) -> Image.Image:
    prompt = f"$ {command}".ljust(COLUMNS)
    lines = [f"\x1b[1m{prompt}\x1b[0m", *text.splitlines()[:ROWS]]
    lines += [""] * (ROWS + 1 - len(lines))
    return Image.open(io.BytesIO(drawn(browser, "\n".join(lines), scale=1))).convert("RGB")
