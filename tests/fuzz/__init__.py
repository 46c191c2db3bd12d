"""Coverage-guided fuzzing of whatever reads bytes that others may have written."""
