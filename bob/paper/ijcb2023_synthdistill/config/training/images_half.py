"""Ablation: 1/2 of the images, table 5. Chain it behind a base config."""

images_per_epoch = images_per_epoch // 2  # type: ignore[has-type]
