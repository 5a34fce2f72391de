"""Ablation: re-sampling coefficient 1 (the paper's), table 3. Chain it behind a base config."""

resampling_coefficient = 1.0
