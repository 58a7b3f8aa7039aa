"""How much a person or a group may use at once."""
