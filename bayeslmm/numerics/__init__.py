"""Linear algebra and numbers: no statistics."""
