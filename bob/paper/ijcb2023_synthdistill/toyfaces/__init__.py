"""ToyFaces: the embedded miniature world of drawn faces."""

from pathlib import Path

_ASSETS = Path(__file__).parent / "assets"

GENERATOR = _ASSETS / "generator.safetensors"
"""The pretrained generator of drawn faces: 64 px, framed like FFHQ."""

TEACHER = _ASSETS / "teacher.safetensors"
"""The pretrained teacher: recognises drawn faces."""

SEED = 2023
"""Seed of the miniature benchmarks that are drawn when none are configured."""

TRAINING_SEED = 20230824
"""Seed of the people that generator, teacher and students were trained on: in no benchmark."""

PAIRS_PER_FOLD = 600
"""Pairs of each of the ten folds of a miniature benchmark, half of them genuine."""
