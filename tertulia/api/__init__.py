"""The REST API: an ASGI application over `tertulia.service`."""
