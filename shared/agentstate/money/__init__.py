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
    name: module
    for module, names in {
        "amounts": "Money register_currency",
        "audit.attest": "Attestation Attestor Damage",
        "audit.export": "export_ledger import_ledger",
        "effects.claims": "EffectRules",
        "effects.engine": "AgentEffects Effects",
        "effects.operation": "Intent Operation OperationRegistry call",
        "effects.table": "Effect EffectState",
        "effects.verdicts": "Absent Applied Guarantee Unknown",
        "guards.decorators": "max_bet_guard",
        "guards.guards": "Guards",
        "ledger.ledger": "TransactionLedger",
        "ledger.postings": "Bucket Line Posted earn move spend",
        "reconciliation.breaks": "Break Breaks",
        "reconciliation.enrolment": "ServiceAccounts",
        "reconciliation.observations": "Observation",
        "reconciliation.portfolio_snapshots": "Slice Snapshot SnapshotRules SnapshotTaker",
        "reconciliation.reconciler": "Finding ReconRules Reconciler",
    }.items()
    for name in names.split()
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
