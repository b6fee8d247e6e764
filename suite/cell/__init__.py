"""One cell: set up, meta-train, meta-test, time, record."""
