"""Ablation: 1/8 of the images, table 5. Chain it behind a base config."""

images_per_epoch = images_per_epoch // 8  # type: ignore[has-type]
