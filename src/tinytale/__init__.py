"""From raw stories to a GPT-2 of your own: prepare, train, evaluate, generate."""

__version__ = "0.1.0"
