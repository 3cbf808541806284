"""The records that a model sees, aligned by ID."""
