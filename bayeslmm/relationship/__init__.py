"""Relationship matrices: who is how alike, from genotypes, pedigrees, groups and files."""
