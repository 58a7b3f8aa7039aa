"""Where boxes and people are in network space, as far as round trips are confirmed."""
