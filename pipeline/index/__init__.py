"""The index: documents made from events, and searches over them, in OpenSearch or SQLite."""
