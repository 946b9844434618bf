"""Real servers for tests and benchmarks: private ones on loopback, gone when their user is."""
