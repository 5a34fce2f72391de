"""The students: a timm backbone (TinyFaR: TinyNet) and one linear layer, or a network of one's own.

A student maps aligned faces ``[B, 3, 112, 112]``, RGB, in [-1, 1], to embeddings, not normalised.
Its file is data: it names a timm architecture, or a network of the user's own that the user's code
has to give again (see :py:mod:`.own`). Nothing is imported or called because a file asks for it.
"""

import contextlib
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..faces import FACE_SIZE
from ..files import SynthDistillError, nearest
from ..weights import State, check_format, load_weights, read_weights, save_weights
from .own import Network, is_network_name, make_network, measure_embedding, name_network, reason

# timm takes two seconds to import: it is imported where it is used

logger = logging.getLogger(__name__)

FORMAT = "synthdistill-student"
FORMAT_VERSION = 1

TINYFAR = {"tinyfar-a": "tinynet_a", "tinyfar-b": "tinynet_b", "tinyfar-c": "tinynet_c"}
"""The paper's students and the timm models that they are built on."""

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""Files in which timm's repositories keep weights."""


class Student(nn.Module):
    """A timm backbone (pooled features) and a linear layer with bias."""

    def __init__(self, architecture: str, pretrained: bool, embedding_size: int) -> None:
        super().__init__()
        self.architecture = architecture
        self.embedding_size = embedding_size
        self.backbone = create_backbone(architecture, pretrained)
        self.linear = nn.Linear(measure_embedding(self.backbone, architecture), embedding_size)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Embed faces: ``[B, embedding_size]``."""
        return self.linear(self.backbone(faces))


class OwnStudent(nn.Module):
    """A network of the user's own, which gives embeddings ``[B, embedding_size]``."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.name = name_network(network)
        self.network = make_network(network)
        self.embedding_size = measure_embedding(self.network, self.name)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Embed faces: ``[B, embedding_size]``."""
        return self.network(faces)


def create_student(
    name: Network, initialisation: str | Path = "imagenet", embedding_size: int = 512
) -> Student | OwnStudent:
    """Make a student, in training mode, on the CPU, at random by torch's global generator.

    Parameters
    ----------
    name
        ``tinyfar-a``, ``tinyfar-b``, ``tinyfar-c``, the name of any timm model that takes faces of
        112x112; or a network of one's own: a class, a function or a partial that makes one, or
        ``package.module:name`` of these.
    initialisation
        ``imagenet``: the backbone's weights from timm (downloaded once), the linear layer at
        random; ``random``: all at random; or a file: a student's, or a state dict of the timm
        model (torch or safetensors; its classifier is left out, the linear layer is at random) or
        of the network of one's own.
    embedding_size
        Number of elements of the embedding: the teacher's.
    """
    student: Student | OwnStudent
    if isinstance(name, str) and not is_network_name(name):
        student = Student(name, initialisation == "imagenet", embedding_size)
    elif initialisation == "imagenet":
        raise SynthDistillError(
            f"there are no ImageNet weights for {name_network(name)}. Choose the initialisation "
            "`random` (what its constructor gives) or the path of a file with weights."
        )
    else:
        student = OwnStudent(name)
        if student.embedding_size != embedding_size:
            raise SynthDistillError(
                f"{student.name} gives embeddings of {student.embedding_size} elements, "
                f"{embedding_size} were expected: the teacher's number."
            )
    if initialisation not in ("imagenet", "random"):
        _start_from(student, Path(initialisation).expanduser())
    return student


def save_student(path: Path | str, student: nn.Module, **metadata: Any) -> None:
    """Write a student as safetensors, its architecture or its network's name in the metadata.

    More ``metadata`` are text, or become JSON. A network of one's own keeps its tensors' names.
    """
    if isinstance(student, OwnStudent):
        network, how = student.network, {"network": student.name}
    elif isinstance(student, Student):
        network, how = student, {"architecture": student.architecture}
    else:
        raise SynthDistillError(
            f"a {type(student).__name__} cannot be saved as a student: its file could not say "
            "what it is. Make it with create_student(CLASS, initialisation='random')."
        )
    ours = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **how,
        "embedding_size": student.embedding_size,
        "input": "aligned faces [B, 3, 112, 112], RGB, [-1, 1]",
        "output": "embeddings [B, embedding_size], not normalised, compared by cosine",
    }
    save_weights(path, network, {**metadata, **ours})


def load_student(path: Path | str, network: Network | None = None) -> Student | OwnStudent:
    """Load a student that :py:func:`save_student` or the published code wrote, for evaluation.

    ``network`` makes a network of the user's own, whose file may be a state dict, too. It comes
    from the user's code, never from the file: the name in the file is compared only. Another name
    is a warning, since names move when code does; all tensors have to agree anyway.
    """
    state, metadata = read_weights(path, "a student")
    architecture, recorded = metadata.get("architecture", ""), metadata.get("network")
    plain = metadata.get("format", "pt") == "pt"  # nobody's format: a state dict
    if plain and network is None and (renamed := _rename_published(state)) is not state:
        state, architecture = renamed, _find_tinyfar(renamed)
    elif not plain or network is None:
        check_format(metadata, FORMAT, FORMAT_VERSION, path)
        if network is None and recorded:
            raise SynthDistillError(
                f"the student {path} is a network of somebody's own, {recorded!a}. A file does not "
                "decide what is executed: say yourself what makes the network, as "
                f"`--network MODULE:NAME`, `student_pipeline({str(path)!r}, network=MyNetwork)` or "
                "`load_student(...)`, with a class, a function or 'package.module:name'."
            )
        if network is not None and not recorded:
            raise SynthDistillError(
                f"the student {path} is timm's {architecture!a}, not {name_network(network)}: "
                "leave `network` out, or correct the path."
            )
        if network is not None and recorded != (name := name_network(network)):
            logger.warning("the student %s was %a when it was saved, not %s", path, recorded, name)
    student: Student | OwnStudent
    with torch.random.fork_rng(devices=[]):  # loading must not move anybody's random numbers
        try:
            if network is None:
                # what is not there or has no rows is refused with all that does not agree
                linear = state.get("linear.weight", torch.zeros(1))
                student = Student(architecture, False, max((1, *linear.shape[:1])))
            else:
                student = OwnStudent(network)
        except SynthDistillError as error:
            raise SynthDistillError(f"cannot load the student {path}: {error.message}") from error
    load_weights(student.network if isinstance(student, OwnStudent) else student, state, path)
    return student.eval()


def count_parameters(network: nn.Module) -> int:
    """Count the parameters, shared ones once; the statistics of norms are none."""
    return sum(parameter.numel() for parameter in network.parameters())


def create_backbone(name: str, pretrained: bool = False) -> nn.Module:
    """Make a timm model without its classifier, at random or with its ImageNet weights.

    ``name`` is one of :py:data:`TINYFAR` or of timm, with or without the tag of its weights. The
    model maps ``[B, 3, 112, 112]`` to pooled features ``[B, F]``.
    """
    import timm
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    names = [*TINYFAR, *timm.list_models(), *timm.list_pretrained()]
    if name not in names:  # nor what timm would look for elsewhere, such as `hf-hub:...`
        raise SynthDistillError(
            f"there is no student {name!a}: expected {', '.join(TINYFAR)} or a timm model."
            + nearest(name.lower(), names)
        )
    timm_name = TINYFAR.get(name, name)
    config = timm.get_pretrained_cfg(timm_name)
    repository = getattr(config, "hf_hub_id", None)
    arguments: dict[str, Any] = {"num_classes": 0}
    if config is not None and config.fixed_input_size:
        arguments["img_size"] = FACE_SIZE  # vision transformers resample their position embedding
    try:
        if pretrained and repository is not None and not is_cached(name):
            # timm itself tries for three quarters of a minute before it says that nobody answers
            with contextlib.suppress(HfHubHTTPError):  # somebody does
                get_hf_file_metadata(hf_hub_url(repository, WEIGHT_FILES[0]), timeout=10)
        return timm.create_model(timm_name, pretrained=pretrained, **arguments)
    except Exception as error:  # timm raises whatever its models and its download happen to raise
        if pretrained:
            raise SynthDistillError(
                f"the ImageNet weights of timm's {timm_name} cannot be had ({reason(error)}). The "
                "three choices for the initialisation are: `imagenet` (timm's weights: run it "
                "once with a connection, they are kept in the cache), `random`, or the path of a "
                "file with weights (a student.safetensors, or model.safetensors of "
                f"https://huggingface.co/{repository}, copied from another machine)."
            ) from error
        raise SynthDistillError(
            f"timm's {timm_name} cannot be made for faces of {FACE_SIZE}x{FACE_SIZE}: "
            f"{reason(error)}. Choose another model."
        ) from error


def is_cached(name: str) -> bool:
    """Tell whether timm's weights for a student lie in the cache of Hugging Face's library."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    repository = getattr(timm.get_pretrained_cfg(TINYFAR.get(name, name)), "hf_hub_id", None)
    return repository is not None and any(
        isinstance(try_to_load_from_cache(repository, file), str) for file in WEIGHT_FILES
    )


def _start_from(student: Student | OwnStudent, path: Path) -> None:
    """Load initial weights: a student's file, or the state dict of the network inside."""
    state, metadata = read_weights(path, "initial weights of the student")
    if metadata.get("format", "pt") != "pt":
        check_format(metadata, FORMAT, FORMAT_VERSION, path)
    if isinstance(student, OwnStudent):
        load_weights(student.network, state, path)
        return
    state = _rename_published(state)
    if "linear.weight" in state:
        load_weights(student, state, path)
        return
    # one name or several, or none
    classifiers = (getattr(student.backbone, "pretrained_cfg", None) or {}).get("classifier") or ()
    classifiers = (classifiers,) if isinstance(classifiers, str) else classifiers
    unwanted = tuple(f"{classifier}." for classifier in classifiers)
    expected = student.backbone.state_dict()
    state = {n: t for n, t in state.items() if n in expected or not n.startswith(unwanted)}
    load_weights(student.backbone, state, path)


def _rename_published(state: State) -> State:
    """Give a state dict of the published code, such as ``light_model_20.pt``, our names.

    It has the tensors ``cnn.*`` of timm's tinynet and ``fc.*``; any other comes back as it is.
    """
    ours = {"cnn": "backbone", "fc": "linear"}
    named = [(*name.partition(".")[::2], tensor) for name, tensor in state.items()]
    if {first for first, *_ in named} != set(ours):
        return state
    return {f"{ours[first]}.{rest}": tensor for first, rest, tensor in named}


def _find_tinyfar(state: State) -> str:
    """Find the TinyFaR whose backbone has most of the tensors' shapes."""

    def agreement(name: str) -> int:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            expected = create_backbone(name).state_dict()
        found = (state.get(f"backbone.{key}") for key in expected)
        pairs = zip(found, expected.values(), strict=True)
        return sum(t is not None and t.shape == e.shape for t, e in pairs)

    return max(TINYFAR, key=agreement)
