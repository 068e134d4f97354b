"""Survey: what a text or dataset holds: duplicates, near duplicates, blemishes, overlap of splits."""
