"""Training configurations, by the names that `synthdistill-train` takes."""
