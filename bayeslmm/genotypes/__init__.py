"""Genotypes: individuals × variants, read lazily from PLINK files or an array."""
