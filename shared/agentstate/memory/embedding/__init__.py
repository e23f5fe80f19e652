"""The worker side of memory: claim pending memories in batches, embed them, and write their points."""
