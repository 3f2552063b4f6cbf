"""Tests of `housekeeping` and `houseutils`."""
