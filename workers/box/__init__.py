"""The box itself: joining, status, its own table, its wish list, and the Celery worker of its roles."""
