"""What is said: wire forms, columns, findings. Imports no other room of the house."""
