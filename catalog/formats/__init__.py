"""Formats the catalog is read from and written to, and the import that brings their records in."""
