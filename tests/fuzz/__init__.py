"""A mutation fuzzer for every file that bayeslmm reads; see README.md beside this file."""
