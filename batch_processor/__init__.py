"""Consumer of the queues: scores spreadsheets and runs tasks."""
