"""Runs and models for elsewhere."""
