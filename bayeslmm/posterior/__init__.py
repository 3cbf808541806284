"""Draws in, tables out: summaries, predictions, breeding values."""
