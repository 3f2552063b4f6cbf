"""How messages become objects and rows: decided, written, acknowledged, and moved between layouts."""
