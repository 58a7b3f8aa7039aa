"""What boxes were like: processor, memory, disk, network and temperature over an hour, a week, a month."""
