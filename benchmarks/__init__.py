"""How fast it is: `python -m benchmarks` prints figures and their ratio to a reference of the same run."""
