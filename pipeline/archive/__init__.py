"""The archive: messages as BSON objects and rows."""
