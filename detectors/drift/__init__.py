"""Detectors of drift, one algorithm per file."""
