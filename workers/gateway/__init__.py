"""The box's front: nginx, the tickets it checks, and the instances behind it."""
