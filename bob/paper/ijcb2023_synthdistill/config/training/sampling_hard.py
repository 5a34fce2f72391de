"""Ablation: badly matched images move far, table 4. Chain it behind a base config."""

sampling = "hard"
