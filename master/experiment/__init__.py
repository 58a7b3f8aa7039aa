"""One scenario twice: in the simulator and on the real boxes of a lab."""
