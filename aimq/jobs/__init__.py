"""The JobStore port, the Job record, and the adapters."""
