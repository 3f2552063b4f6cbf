"""Where messages come from: topics, the policy that chooses them, the log they are read from."""
