"""Bodies of requests and responses, in the shapes of Letta's V1 API where it has them."""
