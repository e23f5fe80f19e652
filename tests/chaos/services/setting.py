"""What the parts of a run have in common: agents in groups, a group for each process, and how they speak and wait."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from pydantic import SecretStr

from agentstate.money.effects.claims import EffectRules
from agentstate.services.http.dialect import OwnRoutes
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.services_file import ServicesFile
from agentstate.services.observing import StoredAccounts
from agentstate.store.store import Store

KEY = SecretStr("pf_test_chaos")
SERVICES = ("casino", "trading", "domains", "wallet")
"""The services with balances of their own."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The agents of one process, and how they reach the services."""

    name: str
    dialect: str
    agents: tuple[str, ...]
    sandbox: str
    database: str
    services_file: str
    operations: int
    seed: int
    deadline_s: float = 3.0
    settle_scale: float = 0.15
    """Share of the settle times: the sandbox settles sooner, so absence counts after 5 to 9 s in place of 35 to 60."""

    pace: float = 1.0
    """Share of the fleet's times between looks."""

    threads: int = 4

    def to_json(self) -> str:
        """For the command line of the process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`."""
        given = json.loads(text)
        return cls(**{**given, "agents": tuple(given["agents"])})

    @property
    def rules(self) -> EffectRules:
        """How long its effects wait for what."""
        return EffectRules(
            first_look_s=0.3 * self.pace,
            backoff_s=0.5 * self.pace,
            backoff_cap_s=3.0 * self.pace,
            looks=14,
            ready_s=3.0 * self.pace,
            lease_margin_s=1.0,
        )

    @property
    def file(self) -> ServicesFile:
        """The services file of the own dialect."""
        return ServicesFile(Path(self.services_file))

    def gateway(self, store: Store | None = None) -> Gateway:
        """The way to the services in this group's dialect."""
        if self.dialect == "gateway":
            return Gateway(f"{self.sandbox}/api/v1", KEY, deadline_s=self.deadline_s, settle_scale=self.settle_scale)
        dialect = OwnRoutes(self.file, None if store is None else StoredAccounts(store))
        return Gateway(dialect=dialect, deadline_s=self.deadline_s, settle_scale=self.settle_scale)

    def account(self, agent_id: str, service: str) -> str:
        """The agent's id at a service."""
        return agent_id if self.dialect == "gateway" else self.file.get_account(agent_id, service)
