"""Database configurations, by the names that Bob's `-d` takes."""
