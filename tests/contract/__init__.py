"""One suite a port, run against every implementation of it."""
