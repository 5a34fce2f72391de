"""Ablation: a student from random weights, table 5. Chain it behind a base config."""

initialisation = "random"
