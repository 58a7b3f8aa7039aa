"""Placement as pure code: no Redis, SQL or Celery in here."""
