"""Recorded attacks in benign traffic: what the security lane finds of them, and at what price."""
