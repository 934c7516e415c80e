"""The memory daemon: Engine, its HTTP door, its client, its life cycle."""
