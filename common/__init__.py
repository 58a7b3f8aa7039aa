"""What master and boxes both speak. Imports neither of them."""

__version__ = "0.1.0"
