"""Relationships from a pedigree: its file, its checks, A, its inverse, inbreeding, dominance."""
