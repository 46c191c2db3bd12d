"""What is measured on labels, and expected without, beside scikit-learn and NannyML."""
