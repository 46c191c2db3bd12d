"""Poisoned retraining: what the gate keeps of the accuracy that a naive window loses."""
