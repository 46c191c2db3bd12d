"""False alarms, delays and dates of the drift detectors: `python -m benchmarks.drift`."""
