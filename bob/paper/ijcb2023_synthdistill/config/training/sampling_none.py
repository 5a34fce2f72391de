"""Ablation: the same w again, table 4. Chain it behind a base config."""

sampling = "none"
