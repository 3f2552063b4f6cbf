"""The hub: tasks handed to plugins."""
