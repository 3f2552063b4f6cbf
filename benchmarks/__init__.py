"""How fast it is: one command, `python -m benchmarks`, a table with the ratio to a reference of the same run."""
