"""Probes and the health daemon."""
