"""The one-machine stack: the whole system on one computer, without Docker.

Real servers from installed packages, each in its own process, owned by one supervisor and one data folder.
`Stack` starts and stops them from Python; `python -m deploy.local` does so from a terminal.
"""
