"""Ablation: a student from ImageNet weights, table 5. Chain it behind a base config."""

initialisation = "imagenet"
