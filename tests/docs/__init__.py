"""The documents say everything there is, and nothing else."""
