"""The built-in corpus: stories from a small grammar, so that everything can be tried without a download."""
