"""Inspection: what happens inside the model on one text: attention, what each layer would have said, surprise."""
