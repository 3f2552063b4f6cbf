"""Who may read and write which topics, and what users hand in."""
