"""Looking inside: what the model attends to, what it would have said at each layer, what surprised it."""
