"""The verbs of the command line, one file each: they compose the rooms and hold no logic of their own."""
