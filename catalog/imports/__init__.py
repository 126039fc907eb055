"""Imports: a file sent, rehearsed, looked at, brought in; and the mappings agencies keep for their tables."""
