"""The site of these pages: `python3 run.py docs`, then open docs/_site/index.html.

Nothing is fetched from outside, neither now nor by a reader's browser. With `-W` a broken link, a missing place within
a page, a formula that cannot be set or a piece of source that is gone ends it with 1.
"""

import sys
from importlib.resources import files
from pathlib import Path

HERE = Path(__file__).resolve().parent
WEB = HERE.parents[1] / "src/tinytale/addons/serve/web"
sys.path.insert(0, str(HERE))

project = html_title = "tinytale"
author = "the tinytale authors"
extensions = ["myst_parser", "repository"]
nitpicky = True
smartquotes = False

# The pages are Markdown where it lies in the repository; docs/README.md names them, and so makes the navigation.
root_doc = "docs/README"
source_suffix = {".md": "markdown", ".ipynb": "markdown"}
include_patterns = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "docs/*.md",
    "notebooks/*.ipynb",
    "weights/small/model/README.md",
]
exclude_patterns = [".*", "*.egg-info", "build", "datasets", "docs/_site", "runs", "src", "tests"]

myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_allow_space = myst_dmath_allow_digits = False
myst_dmath_double_inline = True

html_theme = "furo"
html_logo = html_favicon = str(WEB / "icon.svg")
html_static_path = ["site.css", str(files("ziamath") / "fonts/STIXTwoMath-Regular.ttf")]
html_css_files = ["site.css"]
html_copy_source = html_show_copyright = html_show_search_summary = html_use_index = False
html_theme_options = {
    "top_of_page_buttons": [],
    # The colours of the playground's page (its style.css).
    "light_css_variables": {
        "color-brand-primary": "#a3471f",
        "color-brand-content": "#a3471f",
        "color-brand-visited": "#a3471f",
        "color-background-primary": "#fffdf9",
        "color-background-secondary": "#fbf7f0",
        "color-background-border": "#ddd5c8",
        "color-foreground-primary": "#2a2d34",
    },
    "dark_css_variables": {
        "color-brand-primary": "#f0a27a",
        "color-brand-content": "#f0a27a",
        "color-brand-visited": "#f0a27a",
        "color-background-primary": "#191b20",
        "color-background-secondary": "#22252c",
        "color-background-border": "#3b3f49",
        "color-foreground-primary": "#ece7de",
    },
}
