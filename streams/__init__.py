"""Where it is said: Kafka, Redis, the worker and the command line."""
