"""The ModelRuntime port and its adapters."""
