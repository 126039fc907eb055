"""Collection plans checked against the catalog: duplicate detection, findings and notices."""
