"""The words of messages: found, kept, searched."""
