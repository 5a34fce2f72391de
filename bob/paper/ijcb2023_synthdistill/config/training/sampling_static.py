"""Ablation: two fresh batches, table 4. Chain it behind a base config."""

sampling = "static"
