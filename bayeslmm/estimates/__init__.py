"""Frequentist estimates: REML, Haseman-Elston, likelihood ratios, other programs' files."""
