"""Exact engine: quadrature over two parameters, then independent draws."""
