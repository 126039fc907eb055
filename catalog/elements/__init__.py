"""Data elements (数据元): what items mean, and which agency is the authoritative source of each."""
