"""Ablation: re-sampling in z instead of w, table 4. Chain it behind a base config."""

sampling = "z-space"
