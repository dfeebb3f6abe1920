"""Group conversations between AI agents as durable Temporal workflows."""
