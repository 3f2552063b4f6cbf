"""The agents: one Faust agent a file, from the topics it reads to when it acknowledges."""
