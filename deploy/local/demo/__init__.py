"""The demonstration: a fleet of agents on the whole stack, with things going wrong, and a report that checks promises.

`make demo`, or `python -m deploy.local.demo --help`.
"""
