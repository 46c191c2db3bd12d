"""How well models predict: measured on labels as they come, and estimated where there are none."""
