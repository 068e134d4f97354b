"""The site that `docs/build.py` makes: Markdown with mathematics and slices of the source, every link checked."""
