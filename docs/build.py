#!/usr/bin/env python3
"""Make the site of these pages: `.venv/bin/python docs/build.py [FOLDER]`, then open FOLDER/index.html.

FOLDER is `docs/_site` unless named. Nothing is fetched from outside, neither now nor by a reader's browser. A broken
link, a missing place within a page, a formula that cannot be set or a slice of the source that is gone ends it with 1.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

try:
    from website.site import Site
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is not installed, which the site needs: pip install -c constraints.txt -e '.[docs]'")


def main(arguments: list[str]) -> int:
    """Build, and say what is wrong."""
    out = Path(arguments[0]) if arguments else HERE / "_site"
    site = Site(HERE.parent, HERE / "README.md")
    problems = site.build(out)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(site.pages)} pages, {len(site.copied)} other files: {out / 'index.html'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
