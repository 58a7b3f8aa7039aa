"""The Celery task around placement: fleet, reservation, commit."""
