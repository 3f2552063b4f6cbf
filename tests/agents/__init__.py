"""Agents and tables on a running log."""
