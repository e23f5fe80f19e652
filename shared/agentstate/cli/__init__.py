"""The `agentstate` command: one module per subject, each a thin shell over the library.

Modules import what they need inside the commands, so that `--help` and completion cost no database driver.
"""

from __future__ import annotations

import sys
import warnings


def main() -> None:
    """Run the command with the words of this process."""
    if not sys.warnoptions:
        # Words of libraries to programmers; `python -W default -m agentstate` shows them.
        warnings.simplefilter("ignore")
    from agentstate.cli.root import cli

    cli(prog_name="agentstate")


__all__ = ["main"]
