"""A look inside a model as one file that needs nothing else: for a lecture, a report, a mail."""

import html
import json
import re
from pathlib import Path
from typing import Any

WEB = Path(__file__).parent / "web"
"""What the page is made of, served as it is written."""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}
</style>
<main>
<h1>{title}</h1>
<p class="quiet">{note}</p>
<div id="look"></div>
</main>
<script type="application/json" id="data">{data}</script>
<script type="module">
{script}
showLook(document.getElementById("look"), JSON.parse(document.getElementById("data").textContent));
</script>
</html>
"""


def look_page(data: dict[str, Any], title: str, note: str) -> str:
    """The page of one look, `data` as `inspection.page_data` gives it. Whatever the text says, it stays text."""
    script = re.sub(r"^export ", "", (WEB / "look.js").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return PAGE.format(
        title=html.escape(title),
        note=html.escape(note),
        style=(WEB / "style.css").read_text(encoding="utf-8"),
        data=json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"),
        script=script,
    )
