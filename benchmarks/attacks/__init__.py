"""Attacks on models, recorded, in benign traffic: what the security lane finds, and at what price."""
