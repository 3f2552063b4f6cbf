"""Events: models, ids, topics, versions."""
