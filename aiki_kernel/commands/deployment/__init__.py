"""The files that `aiki deploy` writes: systemd units, Vector, Prometheus, Docker Compose."""
