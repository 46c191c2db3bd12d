"""When it is said: the pure, deterministic fold of events into findings."""
