"""The compute role: images into the engine, mounts, containers, their networks and readiness."""
