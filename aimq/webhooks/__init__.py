"""What interface and batch processor agree on about webhooks: addresses and signatures."""
