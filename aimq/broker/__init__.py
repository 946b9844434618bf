"""The Broker port, its names, and its adapters."""
