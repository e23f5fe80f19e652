"""What an agent owns and does: amounts, ledger, effects, reconciliation and snapshots.

`TransactionLedger` keeps an agent's books, `Effects` calls the outside at most once, `Reconciler` compares the two.
"""

from agentstate.money.amounts import Money, register_currency
from agentstate.money.audit.attest import Attestation, Attestor, Damage
from agentstate.money.audit.export import export_ledger, import_ledger
from agentstate.money.effects.claims import EffectRules
from agentstate.money.effects.engine import AgentEffects, Effects
from agentstate.money.effects.operation import Intent, Operation, OperationRegistry, call
from agentstate.money.effects.table import Effect, EffectState
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown
from agentstate.money.guards import Guards, max_bet_guard
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
