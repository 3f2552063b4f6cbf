"""Rows compared with objects, one message looked at, what is superfluous removed."""
