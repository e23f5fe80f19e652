"""The escrows that our own books know of: the registry that the escrow service lacks."""

from __future__ import annotations

import sqlalchemy as sa

from agentstate.money.effect_rows import EffectState
from agentstate.store.store import Store
from agentstate.store.tables.money import effects

MOST = 500


def known_escrows(store: Store, agent_id: str) -> list[str]:
    """The ids of the newest 500 escrows that the agent is known to have made."""
    made = (effects.c.agent_id == agent_id) & (effects.c.operation == "escrow.create")
    done = made & (effects.c.state == EffectState.SUCCEEDED)
    newest = sa.select(effects.c.outcome).where(done).order_by(effects.c.created_at.desc()).limit(MOST)
    with store.reading() as connection:
        outcomes = connection.execute(newest).scalars()
        return [str(outcome["value"]["reference"]) for outcome in outcomes if "reference" in outcome["value"]]
