"""Jobs: a row in the durable store is the job, a Celery message only wakes somebody up."""
