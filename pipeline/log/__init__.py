"""The log: events on topics, durable and in order, in a folder of ours or in Kafka."""
