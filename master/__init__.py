"""The master: web front end, scheduler and lifecycle. Imports `common`, never `workers`."""
