"""Relationships from a pedigree: who descends from whom."""
