"""Runs on the real servers."""
