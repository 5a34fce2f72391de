"""ToyFaces: the embedded miniature world of drawn faces."""

from pathlib import Path

_ASSETS = Path(__file__).parent / "assets"

GENERATOR = _ASSETS / "generator.safetensors"
"""The pretrained generator of drawn faces: 64 px, framed like FFHQ."""

TEACHER = _ASSETS / "teacher.safetensors"
"""The pretrained teacher: recognises drawn faces."""
