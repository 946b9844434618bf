"""What the HTTP services share: problem documents, probes, metrics, and serving."""
