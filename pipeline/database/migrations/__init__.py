"""Numbered steps from one shape of the tables to the next; `pipeline.database.migrate` runs them.

A step never drops a column or a row, and once released it is never changed.
"""
