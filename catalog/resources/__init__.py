"""Resources of the catalog: what a record says, the life of a resource, its versions and codes."""
