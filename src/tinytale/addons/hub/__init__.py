"""The Hub: data sets from the Hugging Face Hub, fetched and verified by SHA-256."""
