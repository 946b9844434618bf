"""How the other services call the ML service: `relay` on event loops, `blocking` in threads."""
