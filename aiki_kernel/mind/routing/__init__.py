"""Which model answers: measures of a message, routers, labels, and how they are judged."""
