"""Data files: settings with their defaults, topics, rules, templates."""
