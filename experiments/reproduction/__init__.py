"""What the scripts of this folder do together: declarations, runs, scores, tables."""
