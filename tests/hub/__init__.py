"""The life of tasks."""
