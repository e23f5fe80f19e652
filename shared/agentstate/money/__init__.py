"""What an agent owns and does: amounts, ledger, effects, reconciliation and snapshots."""
