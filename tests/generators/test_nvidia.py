"""The reader of NVIDIA's pickles: the published numbers, all forms of files, hostile ones."""

import os
import pickle
from pathlib import Path

import numpy
import pytest
import torch

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.generators import load_generator, save_generator

DATA = Path(__file__).parents[1] / "data"
MICRO = DATA / "stylegan2-micro.pkl"


@pytest.fixture(scope="module")
def reference():
    with numpy.load(DATA / "stylegan2-micro.ref.npz") as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.fixture
def micro():
    return load_generator(MICRO)


def assert_close(found, expected):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * expected.std()


TRUNCATIONS = {
    "psi1": {},
    "psi07": {"truncation_psi": 0.7},
    "psi07_cutoff4": {"truncation_psi": 0.7, "truncation_cutoff": 4},
}


@pytest.mark.parametrize("name", TRUNCATIONS)
def test_every_w_is_the_published_network_s(micro, reference, name):
    assert_close(micro.mapping(reference["z"], **TRUNCATIONS[name]), reference[f"w_{name}"])


@pytest.mark.parametrize("mode", ["const", "none"])
@pytest.mark.parametrize("name", ["psi1", "psi07"])
def test_every_image_is_the_published_network_s(micro, reference, name, mode):
    ws = reference[f"w_{name}"]
    assert_close(micro.synthesis(ws, noise_mode=mode), reference[f"img_{name}_{mode}"])
    if (name, mode) == ("psi1", "const"):
        # in training, activations are scaled instead of weights
        unfused = micro.train().synthesis(ws, noise_mode=mode)
        assert_close(unfused, reference["img_psi1_const_unfused"])


def test_random_noise_is_drawn_in_the_published_order(micro, reference):
    torch.manual_seed(7)
    image = micro(reference["z"], noise_mode="random")
    assert_close(image, reference["img_psi1_random_seed7"])


@pytest.mark.parametrize(
    ("era", "protocol", "core"),
    [
        ("ada", 2, b"numpy.core."),
        ("ada", 3, b"numpy._core."),
        ("stylegan3", 4, None),
        ("stylegan3", 5, None),
    ],
)
def test_all_forms_of_files(small_generator, publish, tmp_path, era, protocol, core):
    content = publish(small_generator, protocol=protocol, era=era)
    if core:  # the later ones write lengths before names
        content = content.replace(b"numpy._core.", b"numpy.core.").replace(b"numpy.core.", core)
    path = tmp_path / "small.pkl"
    path.write_bytes(content)
    found = load_generator(path)
    assert found.options == small_generator.options
    expected = small_generator.state_dict()
    assert found.state_dict().keys() == expected.keys()
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, expected[name])
    ws = small_generator.mapping(torch.randn(2, 6))
    images = [network.synthesis(ws, noise_mode="const") for network in (found, small_generator)]
    torch.testing.assert_close(*images)


def test_no_clamp_and_tensors_of_other_layouts(small_generator, publish, tmp_path):
    def edit(_, description):
        if "conv_clamp" in description["state"]:
            description["state"]["conv_clamp"] = None
        if description["class_name"] == "SynthesisLayer":
            parameters = description["state"]["_parameters"]
            weight = parameters["weight"].half().to(memory_format=torch.channels_last)
            parameters["weight"] = torch.nn.Parameter(weight)
            parameters["bias"] = torch.arange(100.0)[3 : 3 + len(parameters["bias"])]

    path = tmp_path / "small.pkl"
    path.write_bytes(publish(small_generator, edit=edit))
    found = load_generator(path)
    assert found.options["conv_clamp"] is None
    layer, other = found.synthesis.b8.conv0, small_generator.synthesis.b8.conv0
    assert torch.equal(layer.weight, other.weight.half().float())
    assert layer.weight.dtype == torch.float32
    assert layer.bias[0] == 3.0


def test_faces_that_are_not_aligned_are_known_by_their_names(tmp_path):
    names = {"small.pkl": b"ffhqu2.zip", "stylegan3-t-ffhqu-256x256.pkl": b"ffhq32.zip"}
    for name, data in names.items():
        path = tmp_path / name
        path.write_bytes(MICRO.read_bytes().replace(b"ffhq32.zip", data))
        generator = load_generator(path)
        assert not generator.aligned
        save_generator(tmp_path / "converted", generator)
        assert not load_generator(tmp_path / "converted").aligned
    assert load_generator(MICRO).aligned


def refused(tmp_path, content, match):
    path = tmp_path / "refused.pkl"
    path.write_bytes(content)
    with pytest.raises(SynthDistillError, match=match) as error:
        load_generator(path)
    assert "refused.pkl" in error.value.message
    assert "\x1b" not in error.value.message
    return error.value.message


@pytest.mark.parametrize("top", [{}, {"G": 1, "\x1b[31m": 2}, [1, 2], None, {"G_ema": "text"}])
def test_no_generator_in_the_file(tmp_path, top):
    message = refused(tmp_path, pickle.dumps(top, 4), "no generator under the name 'G_ema'")
    if isinstance(top, dict):
        assert all(ascii(name) in message for name in top)


def test_a_tensorflow_pickle_is_explained(tmp_path, call):
    content = pickle.dumps((call("dnnlib.tflib.network", "Network"),), 4)
    refused(tmp_path, content, "TensorFlow")


def rename(name, class_name):
    def edit(found, description):
        if found == name:
            description["class_name"] = class_name

    return edit


def set_tensor(name, make):
    """Replace a parameter or a buffer; None removes it."""
    module, _, key = name.rpartition(".")

    def edit(found, description):
        if found == f"{module}.":
            for group in ("_parameters", "_buffers"):
                tensors = description["state"][group]
                if key in tensors:
                    tensors[key] = make(tensors[key])

    return edit


def set_attribute(module, key, value):
    def edit(found, description):
        if found == module:
            description["state"][key] = value

    return edit


def add_embedding(name, description):
    if name == "mapping.":
        modules = description["state"]["_modules"]
        modules["embed"] = modules["fc0"]


WRONG = {
    "other": (rename("mapping.fc1.", "\x1b[31mTransformer"), r"class `\\x1b\[31mTransformer`"),
    "discriminator": (rename("", "SynthesisBlock"), "class `SynthesisBlock`"),
    "conditional": (add_embedding, "takes a class as well"),
    "shape": (
        set_tensor("synthesis.b16.conv0.weight", lambda x: x[:, :-1].clone()),
        r"1 of another shape: synthesis.b16.conv0.weight \[8, 11, 3, 3\] instead of \[8, 12",
    ),
    "nan": (
        set_tensor("synthesis.b4.const", lambda x: x * float("nan")),
        "not finite, in synthesis.b4.const",
    ),
    "filter": (
        set_tensor("synthesis.b8.resample_filter", lambda x: x.roll(1, 0)),
        "another low-pass filter",
    ),
    "repeated": (set_tensor("mapping.w_avg", lambda x: x[:1].expand(10**12)), "another shape"),
    "no tensor": (set_tensor("synthesis.b4.const", lambda _: 7), "AttributeError"),
    "activation": (set_attribute("mapping.fc0.", "activation", "swish"), "the activation of"),
    "clamp": (set_attribute("synthesis.b8.conv0.", "conv_clamp", 3), "too many values"),
    "modules": (set_attribute("mapping.", "_modules", {"fc0": 1}), "'mapping.fc0.' is no module"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_generator_that_does_not_fit_is_explained(small_generator, publish, tmp_path, name):
    edit, match = WRONG[name]
    refused(tmp_path, publish(small_generator, edit=edit), match)


def test_what_a_pickle_makes_does_not_take_a_state(tmp_path):
    # BUILD on the name (a class) and on what it makes: both would set attributes
    name = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n"
    made = b"(U\x0aclass_nameU\x01aU\x05state}d\x85R"
    for target in (name, name + made):
        content = b"\x80\x02" + target + b"N}U\x05stateU\x01bs\x86b."
        refused(tmp_path, content, "state of a .* is set")


@pytest.mark.parametrize("inside", ["the pickle", "a tensor"])
def test_code_is_named_and_not_executed(small_generator, publish, tmp_path, inside):
    marker = tmp_path / "executed"

    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    buffer = Payload() if inside == "the pickle" else torch.zeros(1000)
    content = publish(small_generator, edit=set_tensor("mapping.w_avg", lambda _: buffer))
    if inside == "a tensor":  # which is a torch file: a pickle after this mark
        start = content.index(
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", content.index(b"w_avg")
        )
        payload = pickle.dumps(Payload(), 2)
        content = content[:start] + payload + content[start + len(payload) :]
    message = refused(tmp_path, content, r"asks for (the code )?`\w+\.system`")
    assert "Nothing of it was executed" in message
    assert not marker.exists()
