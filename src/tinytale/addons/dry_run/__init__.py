"""Dry run: how long a run would take and how much memory and disk it would need, from a few real steps."""
