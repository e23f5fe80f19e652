"""The one-machine stack: its folder, processes, supervisor and command line."""
