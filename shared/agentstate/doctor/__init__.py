"""Diagnosis of a running system: a list of checks, one function each, and an overview of all parts.

`run_checks(System())` runs the checks; `overview` collects the state of parts, queues and workers.
"""

from agentstate.doctor.finding import Finding, Verdict
from agentstate.doctor.registry import CHECKS, Check, CheckResult, is_well, run_checks
from agentstate.doctor.system import System

__all__ = ["CHECKS", "Check", "CheckResult", "Finding", "System", "Verdict", "is_well", "run_checks"]
