"""Pipeline configurations, by the names that Bob's `-p` takes."""
