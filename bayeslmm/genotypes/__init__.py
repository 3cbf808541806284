"""Individuals × variants, lazily, from any format."""
