"""The books of the services in integer micro-dollars: one transaction an operation, no HTTP."""
