"""Figures: the look that all figures share: colours, lines, and fonts for every script."""
