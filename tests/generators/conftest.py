"""A small generator, and a writer of pickles in the form in which NVIDIA publishes generators."""

import math
import pickle
import sys
import types
from collections import OrderedDict

import numpy
import pytest
import torch

from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import (
    Block,
    Generator,
    Linear,
    Mapping,
    StyledConvolution,
    Synthesis,
    ToRGB,
)

CLASS_NAMES = {
    Generator: "Generator",
    Mapping: "MappingNetwork",
    Synthesis: "SynthesisNetwork",
    Block: "SynthesisBlock",
    StyledConvolution: "SynthesisLayer",
    ToRGB: "ToRGBLayer",
    Linear: "FullyConnectedLayer",
}

SOURCE = "raise SystemExit('the embedded source was executed')"


def stand_in(module, name, monkeypatch):
    """Make a function that pickles refer to as ``module.name``."""

    def function(*_):
        raise AssertionError(f"{module}.{name} was called")

    function.__module__, function.__qualname__ = module, name
    for index in range(1, module.count(".") + 2):
        parent = ".".join(module.split(".")[:index])
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    setattr(sys.modules[module], name, function)
    return function


class Call:
    """Pickled as the call of a function."""

    def __init__(self, function, *arguments, items=None):
        self.call = (function, arguments, None, None, items)

    def __reduce__(self):
        return self.call


@pytest.fixture
def small_generator():
    torch.manual_seed(11)
    generator = Generator(
        6, 10, 16, channel_base=128, channel_max=12, mapping_layers=2, num_fp16_res=1
    )
    for block in generator.synthesis.blocks():
        for layer in block.convolutions():
            layer.noise_strength.data.fill_(0.1)
    generator.mapping.w_avg.normal_()
    return generator.eval().requires_grad_(False)


@pytest.fixture
def publish(monkeypatch):
    """Give ``publish(generator, protocol=..., edit=..., top=...) -> bytes``.

    ``edit(name, description)`` changes what is written of a module, ``top(dict)`` of the file.
    """
    reconstruct = stand_in("torch_utils.persistence", "_reconstruct_persistent_obj", monkeypatch)

    def describe(name, module, edit, era):
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        fir = torch.outer(taps, taps) / 64
        own_dict = OrderedDict if era == "ada" else dict
        state = {
            "training": False,
            "_parameters": own_dict(module._parameters),
            "_buffers": own_dict((k, v) for k, v in module._buffers.items() if k != "fir"),
            "_non_persistent_buffers_set": set(),
            "_backward_hooks": OrderedDict(),
            "_modules": own_dict(
                (key, describe(f"{name}{key}.", child, edit, era))
                for key, child in module._modules.items()
            ),
        }
        if isinstance(module, Linear):
            gain = numpy.float64(module.multiplier) / math.sqrt(module.weight.shape[1])
            state |= {"activation": "lrelu", "weight_gain": gain, "bias_gain": module.multiplier}
        if isinstance(module, StyledConvolution | Block):
            state["_buffers"]["resample_filter"] = fir
        if isinstance(module, StyledConvolution | ToRGB):
            state["conv_clamp"] = module.conv_clamp
        if isinstance(module, Block):
            state |= {"architecture": "skip", "use_fp16": module.resolution == 16}
        description = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": CLASS_NAMES[type(module)],
            "state": state,
        }
        if edit:
            edit(name, description)
        return Call(reconstruct, description)

    def write(generator, *, protocol=4, edit=None, top=None, era="ada"):
        module = "dnnlib.util" if era == "ada" else "dnnlib"
        easy_dict = stand_in(module, "EasyDict", monkeypatch)
        content = {
            "G": None,
            "D": None,
            "G_ema": describe("", generator, edit, era),
            "augment_pipe": None,
            "training_set_kwargs": Call(easy_dict, items=iter([("resolution", 16)])),
        }
        if top:
            top(content)
        return pickle.dumps(content, protocol)

    return write


@pytest.fixture
def call(monkeypatch):
    """Give ``call(module, name, *arguments)``: pickled as a call of that name."""

    def make(module, name, *arguments):
        return Call(stand_in(module, name, monkeypatch), *arguments)

    return make
