"""The report of a run: sections as data, every number with the file that it stands in; laid out as PDF or as a page."""
