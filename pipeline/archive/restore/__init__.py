"""Archived messages played back into a log, with proof."""
