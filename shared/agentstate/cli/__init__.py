"""The `agentstate` command: one module per subject, each a thin shell over the library."""
