"""The six financial services: gateway, operations and state cache."""
