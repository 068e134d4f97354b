"""The playground: a page on which a model writes and can be looked into, and the interface behind it."""
