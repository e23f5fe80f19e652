"""`python -m deploy.local`."""

from deploy.local.stack.cli import main

main()
