"""Handing events to consumers: what is read, who receives it, how far each is."""
