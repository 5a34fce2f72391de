"""Time the synthesis of StyleGAN3-T and -R beside StyleGAN2's, plain and fast, in turns.

    python experiments/time_stylegan3.py --precision 32

On one thread of the CPU, in seconds of the process, which other work on the machine disturbs less
than the clock. Networks have random weights and the sizes that the StyleGAN3 paper gives.
"""

import math
import statistics
import time

import click
import torch

from bob.paper.ijcb2023_synthdistill import faces
from bob.paper.ijcb2023_synthdistill.allocator import keep_buffers
from bob.paper.ijcb2023_synthdistill.generators import stylegan2, stylegan3
from bob.paper.ijcb2023_synthdistill.generators.inference import for_inference
from bob.paper.ijcb2023_synthdistill.scripts import command

LAYERS, CRITICAL, MARGIN = 14, 2, 10


def make_stylegan3(kind: str, resolution: int, base: int, most: int) -> stylegan3.Generator:
    """Make a generator of kind t or r: its layers by the paper's equations (appendix E).

    Its filters have the paper's lengths, but other values: one of two dimensions has as many
    separable parts.
    """
    wide, kernel = (1, 3) if kind == "t" else (2, 1)
    places = [min(i / (LAYERS - CRITICAL), 1) for i in range(LAYERS + 1)]
    cutoffs = [2 * (resolution / 4) ** place for place in places]
    first, last = 2**2.1, resolution / 2 * 2**0.3
    stops = [first * (last / first) ** place for place in places]
    rates = [2 ** math.ceil(math.log2(min(2 * stop, resolution))) for stop in stops]
    sizes = [rate + 2 * MARGIN for rate in rates[:-2]] + [resolution] * 2
    channels = [min(round(wide * base / 2 / cutoff), wide * most) for cutoff in cutoffs[:-1]] + [3]
    layers = []
    for i in range(LAYERS + 1):
        before, colours = max(i - 1, 0), i == LAYERS
        kernel = 1 if colours else kernel
        rate = max(rates[before], rates[i]) * (1 if colours else 2)
        up, down = rate // rates[before], rate // rates[i]
        up_taps, down_taps = (1, 1) if colours else (6 * up, 6 * down)
        around = (sizes[i] - 1) * down + 1 - (sizes[before] + kernel - 1) * up
        around += up_taps + down_taps - 2
        layers.append(
            {
                "name": f"L{i}",
                "inputs": channels[before],
                "outputs": channels[i],
                "kernel": kernel,
                "up": up,
                "up_taps": up_taps,
                "half": False,
                "down": down,
                "down_taps": down_taps,
                "radial": kind == "r" and i < LAYERS - CRITICAL,
                "before": (around + up) // 2,
                "after": around - (around + up) // 2,
            }
        )
    generator = stylegan3.Generator(
        *(512, 512, resolution, 2, 0.01, 256.0, 0.25, sizes[0], rates[0], layers)
    ).requires_grad_(False)
    for layer in list(generator.synthesis.children())[1:-1]:
        if layer.options.radial:
            parts = torch.rand(3, layer.options.down_taps)
            layer.down_filter.copy_(parts.T @ parts / parts.sum(dim=1).square().sum())
    return generator.eval()


@command()
@click.option("--resolution", default=256)
@click.option("--channel-base", default=16384, help="As for published 256 px.")
@click.option("--channel-max", default=512)
@click.option("--batch-size", default=1)
@click.option("--rounds", default=2, help="After one to warm up.")
@click.option("--precision", type=click.Choice(["32", "bf16"]), default="32")
def main(
    resolution: int,
    channel_base: int,
    channel_max: int,
    batch_size: int,
    rounds: int,
    precision: str,
) -> None:
    """Print CPU seconds an image of each network, and how far fast images are from plain ones."""
    keep_buffers()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dtype = {"32": torch.float32, "bf16": torch.bfloat16}[precision]
    sizes = resolution, channel_base, channel_max
    networks = {"StyleGAN2": stylegan2.Generator(512, 512, *sizes).eval().requires_grad_(False)}
    networks |= {f"StyleGAN3-{kind}": make_stylegan3(kind, *sizes) for kind in "tr"}
    syntheses = {}
    for name, generator in networks.items():
        generator.set_precision(dtype)
        syntheses |= {(name, "plain"): generator.synthesis}
        syntheses |= {(name, "fast"): for_inference(generator, dtype).synthesis}
    z = torch.randn(batch_size, 512)
    ws = {name: generator.mapping(z) for name, generator in networks.items()}
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in syntheses}
    images = {}
    for _ in range(rounds + 1):
        for (name, form), synthesis in syntheses.items():
            start = time.process_time()
            images[name, form] = synthesis(ws[name], noise_mode="none")
            seconds[name, form].append((time.process_time() - start) / batch_size)
    rows, columns = faces.crop_box(resolution)
    for name in networks:
        plain, fast = (statistics.median(seconds[name, form][1:]) for form in ("plain", "fast"))
        wanted, made = (images[name, form][..., rows, columns] for form in ("plain", "fast"))
        far = (made - wanted).abs().max() / wanted.std()
        click.echo(
            f"{name}: plain {plain:.3f} s, fast {fast:.3f} s an image ({plain / fast:.2f} times), "
            f"images within {far:.1e} of their standard deviation"
        )


if __name__ == "__main__":
    main()
