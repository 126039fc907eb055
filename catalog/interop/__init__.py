"""The catalog as other systems read it: DCAT-AP and DCAT-US, the CKAN read API, OGC API Records."""
