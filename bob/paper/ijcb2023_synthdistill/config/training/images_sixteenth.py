"""Ablation: 1/16 of the images, table 5. Chain it behind a base config."""

images_per_epoch = images_per_epoch // 16  # type: ignore[has-type]
