"""The chapters of a report, one file each: from the files' material to sections."""
