"""Report, card, comparison: what was measured, for people: the PDF report, the model card, and runs side by side."""
