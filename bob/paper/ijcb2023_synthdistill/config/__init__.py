"""Configurations: data only, nothing is built, opened or downloaded at import."""
