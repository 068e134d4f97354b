"""Chat: a conversation in the terminal with a model that was trained on one."""
