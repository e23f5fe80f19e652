"""The books: append-only postings that balance per currency and are chained by hash, and the accounts they move."""
