"""Ablation: re-sampling coefficient 0.5, table 3. Chain it behind a base config."""

resampling_coefficient = 0.5
