"""Search over the catalog: a disposable index on each node, fed from the change log."""
