"""What labels cost: predictions that wait for them, and each event."""
