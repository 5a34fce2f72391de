"""Networks of the paper's fourteen layers, plain and fast."""

import re

from click.testing import CliRunner
from time_stylegan3 import main


def test_each_network_is_timed_and_its_images_compared():
    small = ["--resolution", "64", "--channel-base", "128", "--channel-max", "8", "--rounds", "1"]
    result = CliRunner().invoke(main, small, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = re.findall(r"^(\S+): .* within (\S+) of", result.output, re.MULTILINE)
    assert [name for name, _ in found] == ["StyleGAN2", "StyleGAN3-t", "StyleGAN3-r"]
    assert all(float(far) < 1e-4 for _, far in found)
