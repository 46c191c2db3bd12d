"""Labels and the predictions that they are about: kept until they meet, within bounds."""
