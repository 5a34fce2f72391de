"""``synthdistill-convert``: a generator's pickle or a published student becomes safetensors."""

import zipfile
from pathlib import Path

import click


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""Examples:

    \b
    synthdistill-convert stylegan2-ffhq-256x256.pkl stylegan2-ffhq-256x256.safetensors
    synthdistill-convert light_model_20.pt student.safetensors
""",
)
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("target", metavar="FILE.safetensors", type=click.Path(path_type=Path))
@click.option("-f", "--force", is_flag=True, help="Replace FILE.safetensors if it exists.")
def convert(source: Path, target: Path, force: bool) -> None:
    """Convert a generator (NVIDIA's pickle) or a student of the published code to safetensors.

    Nothing in a pickle is executed. Of NVIDIA's three networks only the generator that makes the
    images (G_ema) is kept, so the file becomes a third as large and loads faster. All commands read
    either form.
    """
    from ..files import SynthDistillError

    if target.exists():
        if source.exists() and source.samefile(target):
            raise SynthDistillError(f"{target} is the file to convert: give another name.")
        if target.is_dir():
            raise SynthDistillError(f"{target} is a folder: give the name of the file to write.")
        if not force:
            raise SynthDistillError(
                f"{target} exists: give another name, or --force to replace it."
            )

    from ..recognition.student import count_parameters, read_published, save_student

    if zipfile.is_zipfile(source):  # as torch.save writes them; NVIDIA's pickles are none
        student = read_published(source)
        save_student(target, student, converted_from=source.name)
        click.echo(
            f"converted {source} to {target}:\n"
            f"  {student.architecture}, embeddings of {student.embedding_size} elements\n"
            f"  parameters {count_parameters(student):,}"
        )
        return

    from ..generators import load_generator, save_generator

    generator = load_generator(source)
    save_generator(target, generator)
    options = generator.options
    click.echo(
        f"converted {source} to {target}:\n"
        f"  {generator.describe()}\n"
        f"  {generator.resolution}x{generator.resolution} pixels, clamp "
        f"{options['conv_clamp'] or 'none'}\n"
        f"  parameters {count_parameters(generator):,}\n"
        f"  z {generator.z_dim}, w {generator.w_dim}, {generator.num_ws} ws, mapping of "
        f"{options['mapping_layers']} layers"
    )
