"""Attacks at inference and at feedback time, seen from the same stream of events."""
