"""Frequentist estimates: REML, Haseman-Elston, likelihood ratio tests, other programs' files."""
