"""Harvesting: catalogs of others, fetched on a schedule and imported."""
