"""From a path that was recorded to the host code of a unit."""
