"""The facts of an agent: memories as rows of the durable store, their statements, namespaces and tombstones."""
