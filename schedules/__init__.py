"""Beat: what runs when. `celery -A schedules.app beat` finds the schedule; slots make a second beat harmless."""
