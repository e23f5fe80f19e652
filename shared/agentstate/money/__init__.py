"""An agent's money: amounts, ledger, effects, guards, reconciliation and snapshots.

`TransactionLedger` keeps an agent's books, `Effects` calls the outside at most once, `Reconciler` compares the two. The
names are loaded on first use, so that an amount does not cost the database.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentstate.money.amounts import Money, register_currency
    from agentstate.money.audit.attest import Attestation, Attestor, Damage
    from agentstate.money.audit.export import export_ledger, import_ledger
    from agentstate.money.effects.claims import EffectRules
    from agentstate.money.effects.engine import AgentEffects, Effects
    from agentstate.money.effects.operation import Intent, Operation, OperationRegistry, call
    from agentstate.money.effects.table import Effect, EffectState
    from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown
    from agentstate.money.guards.decorators import max_bet_guard
    from agentstate.money.guards.guards import Guards
    from agentstate.money.ledger.ledger import TransactionLedger
    from agentstate.money.ledger.postings import Bucket, Line, Posted, earn, move, spend
    from agentstate.money.reconciliation.breaks import Break, Breaks
    from agentstate.money.reconciliation.enrolment import ServiceAccounts
    from agentstate.money.reconciliation.observations import Observation
    from agentstate.money.reconciliation.portfolio_snapshots import Slice, Snapshot, SnapshotRules, SnapshotTaker
    from agentstate.money.reconciliation.reconciler import Finding, Reconciler, ReconRules

__all__ = [
    "Absent",
    "AgentEffects",
    "Applied",
    "Attestation",
    "Attestor",
    "Break",
    "Breaks",
    "Bucket",
    "Damage",
    "Effect",
    "EffectRules",
    "EffectState",
    "Effects",
    "Finding",
    "Guarantee",
    "Guards",
    "Intent",
    "Line",
    "Money",
    "Observation",
    "Operation",
    "OperationRegistry",
    "Posted",
    "ReconRules",
    "Reconciler",
    "ServiceAccounts",
    "Slice",
    "Snapshot",
    "SnapshotRules",
    "SnapshotTaker",
    "TransactionLedger",
    "Unknown",
    "call",
    "earn",
    "export_ledger",
    "import_ledger",
    "max_bet_guard",
    "move",
    "register_currency",
    "spend",
]

_HOMES = {
    "Absent": "effects.verdicts",
    "AgentEffects": "effects.engine",
    "Applied": "effects.verdicts",
    "Attestation": "audit.attest",
    "Attestor": "audit.attest",
    "Break": "reconciliation.breaks",
    "Breaks": "reconciliation.breaks",
    "Bucket": "ledger.postings",
    "Damage": "audit.attest",
    "Effect": "effects.table",
    "EffectRules": "effects.claims",
    "EffectState": "effects.table",
    "Effects": "effects.engine",
    "Finding": "reconciliation.reconciler",
    "Guarantee": "effects.verdicts",
    "Guards": "guards.guards",
    "Intent": "effects.operation",
    "Line": "ledger.postings",
    "Money": "amounts",
    "Observation": "reconciliation.observations",
    "Operation": "effects.operation",
    "OperationRegistry": "effects.operation",
    "Posted": "ledger.postings",
    "ReconRules": "reconciliation.reconciler",
    "Reconciler": "reconciliation.reconciler",
    "ServiceAccounts": "reconciliation.enrolment",
    "Slice": "reconciliation.portfolio_snapshots",
    "Snapshot": "reconciliation.portfolio_snapshots",
    "SnapshotRules": "reconciliation.portfolio_snapshots",
    "SnapshotTaker": "reconciliation.portfolio_snapshots",
    "TransactionLedger": "ledger.ledger",
    "Unknown": "effects.verdicts",
    "call": "effects.operation",
    "earn": "ledger.postings",
    "export_ledger": "audit.export",
    "import_ledger": "audit.export",
    "max_bet_guard": "guards.decorators",
    "move": "ledger.postings",
    "register_currency": "amounts",
    "spend": "ledger.postings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
