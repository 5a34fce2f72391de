"""Ablation: re-sampling coefficient 0.25, table 3. Chain it behind a base config."""

resampling_coefficient = 0.25
