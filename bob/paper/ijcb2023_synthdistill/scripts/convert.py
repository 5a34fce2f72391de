"""``synthdistill-convert``: a generator's pickle or a published student becomes safetensors."""

import zipfile
from pathlib import Path
from typing import Any

import click

from . import PATH, command


@command(
    "synthdistill-convert stylegan2-ffhq-256x256.pkl stylegan2-ffhq-256x256.safetensors",
    "synthdistill-convert light_model_20.pt student.safetensors",
)
@click.argument("source", metavar="FILE", type=PATH)
@click.argument("target", metavar="FILE.safetensors", type=PATH)
@click.option("-f", "--force", is_flag=True, help="Replace FILE.safetensors if it exists.")
def convert(source: Path, target: Path, force: bool) -> None:
    """Convert a generator (NVIDIA's pickle) or a student of the published code to safetensors.

    Nothing in a pickle is executed. Of NVIDIA's three networks only the generator that makes the
    images (G_ema) is kept, so the file becomes a third as large and loads faster. All commands read
    either form.
    """
    from ..files import SynthDistillError

    if target.exists() and (not force or (source.exists() and source.samefile(target))):
        raise SynthDistillError(f"{target} exists: give another name, or --force to replace it.")

    from ..generators import load_generator, save_generator
    from ..recognition.student import count_parameters, load_student, save_student

    made: Any
    if zipfile.is_zipfile(source):  # as torch.save writes them; NVIDIA's pickles are none
        made = load_student(source)
        save_student(target, made, converted_from=source.name)
        text = f"{made.architecture}, embeddings of {made.embedding_size} elements"
    else:
        made = load_generator(source)
        save_generator(target, made)
        text = f"{made.resolution}x{made.resolution} pixels, z {made.z_dim}, w {made.w_dim}, "
        text += f"{made.num_ws} ws, clamp {made.options['conv_clamp'] or 'none'}"
    click.echo(f"converted {source} to {target}: {text}, {count_parameters(made):,} parameters")
