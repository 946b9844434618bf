"""The studies that the documentation quotes: one command each."""
