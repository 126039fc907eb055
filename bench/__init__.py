"""Benchmarks: each measures the product beside a named reference in the same run. None asserts a time."""
