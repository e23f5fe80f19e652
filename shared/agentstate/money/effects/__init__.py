"""Effects on the outside, at most once per key: intent before the call, outcome after it, verify when in doubt."""
