"""How a request travels: one retry policy, two drivers of the same flows."""
