"""Files read as collection plans: the product's workbook, JSON Schema, XForm, XLSForm, table definitions."""
