"""What people asked for: deployments, instances, timelines."""
