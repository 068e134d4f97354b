"""The data room: stories become tokens, tokens become shards, shards become batches. It knows no model."""
