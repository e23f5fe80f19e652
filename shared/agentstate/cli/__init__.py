"""The `agentstate` command: one module per subject, each a thin shell over the library.

Modules import what they need inside the commands, so that `--help` and completion cost no database driver.
"""

from __future__ import annotations


def main() -> None:
    """Run the command with the words of this process."""
    from agentstate.cli.root import cli

    cli(prog_name="agentstate")


__all__ = ["main"]
