"""The records that a model sees: phenotype, design and individuals, aligned by ID."""
