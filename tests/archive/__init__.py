"""The archive: what is written, told apart, found again and taken up after a crash."""
