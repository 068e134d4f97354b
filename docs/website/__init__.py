"""The site that `docs/build.py` makes: Markdown with mathematics, slices of the source, and links that all lead somewhere."""
