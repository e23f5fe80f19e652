"""Examining a running system: one small function a check, a list of them, and the state of all parts at a glance.

`examine(System())` makes the checks; `overview` tells what is up, what waits and who works.
"""

from agentstate.doctor.finding import Finding, Verdict
from agentstate.doctor.registry import CHECKS, Check, CheckResult, is_well, run_checks
from agentstate.doctor.system import System

__all__ = ["CHECKS", "Check", "CheckResult", "Finding", "System", "Verdict", "is_well", "run_checks"]
