"""What is counted of an archive: totals, rates, gaps."""
