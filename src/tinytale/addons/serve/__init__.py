"""The server and its page: An HTTP server with OpenAI's interface, and the page that shows a model at work."""
