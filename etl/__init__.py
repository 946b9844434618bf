"""From a raw table to a published model version."""
