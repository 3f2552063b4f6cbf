"""The index beyond its contract: documents of events, typed searches, files and servers that fail."""
