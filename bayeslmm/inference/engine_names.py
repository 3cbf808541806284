"""Names of the engines, for option parsers that import nothing heavy."""

ENGINE_NAMES = ("exact", "laplace", "nuts")
