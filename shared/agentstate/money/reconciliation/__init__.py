"""Reconciliation of the books with the services, breaks, and portfolio snapshots."""
