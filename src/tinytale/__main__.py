"""`python -m tinytale`."""

from tinytale.cli import main

main()
