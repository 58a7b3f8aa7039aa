"""What runs on a box. Imports `common`, never `master`."""
