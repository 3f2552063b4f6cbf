"""The plugin kit: plugins over files with nothing running, and against a served installation."""
