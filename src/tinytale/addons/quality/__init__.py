"""Story quality: figures about stories that a model has generated, each beside the same figure of real stories."""
