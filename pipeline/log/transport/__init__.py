"""Faust on our logs: transports, streams of batches and tables that never promise more than is durable."""
