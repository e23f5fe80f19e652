"""The Celery application and its tasks: one thin module a kind, each task a shell of a few lines over the library.

`celery -A tasks.app` finds the application; `python -m workers` starts it with the right pool and queues.
"""
