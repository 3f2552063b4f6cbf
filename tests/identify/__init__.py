"""Tests of identification: hashes, libmagic, formats, rules, and the parser pool."""
