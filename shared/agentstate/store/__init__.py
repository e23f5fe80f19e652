"""The durable store: schema, engine, transactions and migrations, on Postgres and SQLite.

`Store.open(url)` connects; `Store.transaction()` is how everything is written; `tables` is the schema.
"""

from agentstate.store.store import Store, Transaction

__all__ = ["Store", "Transaction"]
