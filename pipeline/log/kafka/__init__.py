"""The log in a Kafka cluster."""

from pipeline.log.kafka.log import KafkaLog

__all__ = ["KafkaLog"]
