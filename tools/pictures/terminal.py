"""A real terminal (tmux), and what it shows as a picture."""

import io
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from playwright.sync_api import Browser
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parent.parent.parent
COLUMNS, ROWS = 92, 34
"""Of the terminal."""
THEME = TerminalTheme(
    (25, 27, 32), (236, 231, 222),
    [(59, 63, 73), (224, 108, 91), (136, 190, 122), (240, 190, 110),
     (110, 170, 230), (200, 140, 210), (110, 200, 205), (236, 231, 222)],
)  # fmt: skip
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; display: inline-block; background: #191b20; }}
pre {{ margin: 0; padding: 18px 22px; color: #ece7de; font: 15px/1.165 "DejaVu Sans Mono", monospace; }}
</style><pre>{code}</pre>"""


def with_tinytale(folder: Path) -> dict[str, str]:
    """The environment in which `tinytale` is the code of this repository; the command is put into this folder."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    tale = bin_folder / "tinytale"
    tale.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tinytale "$@"\n')
    tale.chmod(0o755)
    return {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}


def session(
    folder: Path,
    command: str,
    patience: float,
    environment: Mapping[str, str],
    rows: int = ROWS,
    every: float = 1.0,
) -> Iterator[tuple[float, str]]:
    """What a terminal in this folder shows while a command runs in it: seconds since its start, and text with colours.

    The last is what it shows once the command has ended.
    """
    name = f"pictures-{os.getpid()}"

    def tmux(*arguments: str) -> str:
        call = ["tmux", "-L", name, "-f", os.devnull, *arguments]
        return subprocess.run(call, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout

    tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(rows), f"{command}; printf '$ '; exec sleep 1000")
    began = time.monotonic()
    try:
        while not tmux("capture-pane", "-p").rstrip().endswith("$"):
            seconds = time.monotonic() - began
            if seconds > patience:
                sys.exit(f"not done after {patience} seconds: {command}")
            yield seconds, tmux("capture-pane", "-e", "-p", "-J").rstrip()
            time.sleep(every)
        yield time.monotonic() - began, tmux("capture-pane", "-e", "-p", "-J").rstrip().removesuffix("$").rstrip()
    finally:
        tmux("kill-server")


def drawn(browser: Browser, ansi: str, scale: float = 1.25) -> bytes:
    """Text with the terminal's colours, as Chromium draws it: a PNG."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(ansi), end="")
    page = browser.new_page(device_scale_factor=scale, viewport={"width": 100, "height": 100})
    page.set_content(console.export_html(theme=THEME, inline_styles=True, code_format=PAGE))
    picture = page.locator("body").screenshot()
    page.close()
    return picture
