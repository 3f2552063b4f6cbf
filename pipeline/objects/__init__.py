"""Objects: immutable bytes under their key, in a folder, in S3 or in memory."""
