"""Evaluation with Bob: the embedding transformer, the pipelines, tables and complexity."""
