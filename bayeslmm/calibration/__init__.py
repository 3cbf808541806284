"""Simulation-based calibration of a model file with any engine."""
