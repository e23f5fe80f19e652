"""What the services keep and do: pure books in integer micro-dollars, one transaction an operation, no HTTP."""
