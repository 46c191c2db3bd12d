"""What is found on errors: a rare one that doubles, a real concept drift, a slow decay."""
