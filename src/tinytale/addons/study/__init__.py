"""Studies: several runs that differ in one setting, from a TOML file, with seeds and intervals."""
