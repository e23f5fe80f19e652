"""What an agent knows: memories as rows of the durable store, their statements, namespaces and tombstones."""
