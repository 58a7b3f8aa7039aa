"""The simulator: discrete events around the very fleet, eligibility rules and policies of the live scheduler."""
