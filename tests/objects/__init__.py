"""Tests of what only one object store does, and of what surrounds the stores."""
