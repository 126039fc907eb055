"""Supervision (监督): figures over what agencies do with each other."""
