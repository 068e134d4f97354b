"""`python3 run.py bench ...`: the measurements, as one more verb of the command line."""

import sys

from bench.commands import bench
from tinytale.cli import app, main

if __name__ == "__main__":
    app.command(bench)
    sys.argv.insert(1, "bench")
    main()
