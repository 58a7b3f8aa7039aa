"""The plain scenario, written down again for SimPy and for leafsim."""
