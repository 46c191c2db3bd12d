"""A recorded attack through a real Kafka and a real worker."""
