"""The state cache: read-through with single flight and refresh-ahead, honest about age and quality."""
