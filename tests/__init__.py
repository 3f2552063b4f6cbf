"""Tests, through the public surface: HTTP, commands, topics and the contracts of the ports."""
