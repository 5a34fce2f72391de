"""``synthdistill-convert``: a generator's pickle becomes safetensors."""

from pathlib import Path

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", metavar="FILE.pkl", type=click.Path(path_type=Path))
@click.argument("target", metavar="FILE.safetensors", type=click.Path(path_type=Path))
@click.option("-f", "--force", is_flag=True, help="Replace FILE.safetensors if it exists.")
def convert(source: Path, target: Path, force: bool) -> None:
    """Convert a StyleGAN2 generator from NVIDIA's pickle to safetensors.

    Nothing in the pickle is executed, and of its three networks only the generator that makes the
    images (G_ema) is kept, so the file becomes a third as large and loads faster. All commands read
    either.

    Example: synthdistill-convert stylegan2-ffhq-256x256.pkl stylegan2-ffhq-256x256.safetensors
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

    from ..generators import load_generator, save_generator

    generator = load_generator(source)
    save_generator(target, generator)
    options = generator.options
    parameters = sum(parameter.numel() for parameter in generator.parameters())
    channels = [block.conv1.weight.shape[0] for block in generator.synthesis.blocks()]
    click.echo(
        f"converted {source} to {target}:\n"
        f"  StyleGAN2, {generator.resolution}x{generator.resolution} pixels\n"
        f"  parameters {parameters:,}\n"
        f"  z {generator.z_dim}, w {generator.w_dim}, {generator.num_ws} ws, mapping of "
        f"{options['mapping_layers']} layers\n"
        f"  channels {' '.join(map(str, channels))} (4x4 to {generator.resolution}x"
        f"{generator.resolution})\n"
        f"  clamp {options['conv_clamp'] or 'none'}, float16 on CUDA in the highest "
        f"{options['num_fp16_res']} resolutions"
    )
