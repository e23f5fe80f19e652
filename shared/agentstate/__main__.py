"""`python -m agentstate`: the same as the command `agentstate`."""

from agentstate.cli import main

main()
