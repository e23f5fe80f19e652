"""The schedule of beat. `celery -A schedules.app beat` finds it; slots make a second beat harmless."""
