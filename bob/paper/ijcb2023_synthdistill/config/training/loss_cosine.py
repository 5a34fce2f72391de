"""Ablation: cosine loss, table 4. Chain it behind a base config."""

loss = "cosine"
