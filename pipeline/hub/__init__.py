"""The hub: events published for clients, handed to consumers, and the life of tasks."""
