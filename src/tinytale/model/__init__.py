"""GPT-2, written out; knows only its config."""
