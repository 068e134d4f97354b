"""The judge: a language model behind any server with OpenAI's interface grades stories, blind, beside real ones."""
