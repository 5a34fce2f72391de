"""Ablation: re-sampling coefficient 2, table 3. Chain it behind a base config."""

resampling_coefficient = 2.0
