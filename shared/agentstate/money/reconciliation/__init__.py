"""Our books beside what the services show: reconciliation, breaks, and portfolio snapshots."""
