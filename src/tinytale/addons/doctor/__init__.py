"""Doctor: what this machine has and can do: cores, memory, kernels, and which recipe suits it."""
