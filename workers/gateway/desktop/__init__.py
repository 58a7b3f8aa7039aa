"""`desktop`: the screen that a container serves by VNC, in the browser."""
