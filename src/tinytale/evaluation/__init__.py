"""How good a model is: how well it predicts stories, and how good those are that it tells."""
