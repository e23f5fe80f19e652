"""What an agent owns and does: amounts, ledger, effects, reconciliation and snapshots.

`TransactionLedger` keeps an agent's books, `Effects` calls the outside at most once, `Reconciler` compares the two.
"""

from agentstate.money.amounts import Money, register_currency
from agentstate.money.attest import Attestation, Attestor, Damage
from agentstate.money.breaks import Break, Breaks
from agentstate.money.checkpoint import CheckpointManager
from agentstate.money.effect_lookup import EffectResolver, EffectSweeper
from agentstate.money.effect_rows import Effect, EffectState
from agentstate.money.effects import Effects
from agentstate.money.enrolment import ServiceAccounts
from agentstate.money.guards import Guards, max_bet_guard
from agentstate.money.ledger import TransactionLedger
from agentstate.money.observations import Observation
from agentstate.money.operations import Operations
from agentstate.money.plan import EffectRules
from agentstate.money.portable import export_ledger, import_ledger
from agentstate.money.postings import Bucket, Line, Posted, earned, move, spent
from agentstate.money.reconciliation import Finding, Reconciler, ReconRules
from agentstate.money.snapshots import Slice, Snapshot, SnapshotRules, SnapshotTaker
from agentstate.money.verdicts import Absent, Applied, Guarantee, Unknown

__all__ = [
    "Absent",
    "Applied",
    "Attestation",
    "Attestor",
    "Break",
    "Breaks",
    "Bucket",
    "CheckpointManager",
    "Damage",
    "Effect",
    "EffectResolver",
    "EffectRules",
    "EffectState",
    "EffectSweeper",
    "Effects",
    "Finding",
    "Guarantee",
    "Guards",
    "Line",
    "Money",
    "Observation",
    "Operations",
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
    "earned",
    "export_ledger",
    "import_ledger",
    "max_bet_guard",
    "move",
    "register_currency",
    "spent",
]
