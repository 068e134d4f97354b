"""Telling stories: samplers, and decoding with a cache."""
