"""Bodies of requests and answers, in the shapes of Letta's V1 API where that has them."""
