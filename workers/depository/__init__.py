"""The depository role, and what every box needs of it: content store, blob server, transfer."""
