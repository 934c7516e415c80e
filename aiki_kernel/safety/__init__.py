"""Redaction of secrets, fences around recalled text, permissions, audit log."""
