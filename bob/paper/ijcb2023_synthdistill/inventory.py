"""What is in place of all that the paper's tables need: weights and benchmarks."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .files import GENERATOR, STUDENT, TEACHER, SynthDistillError, configured_path

RIGHT, UNSET, MISSING, WRONG, OTHER = "right", "not set", "missing", "wrong", "other"
"""States: in place; key not set; nothing at its path; not usable; usable, but not the paper's."""


@dataclass(frozen=True)
class Item:
    """One thing that a table needs.

    Parameters
    ----------
    name
        ``generator``, ``teacher``, ``student``, ``imagenet`` or a benchmark.
    state
        One of the states above.
    message
        What was found, or what is wrong.
    needed_for
        What cannot be done without it.
    required
        Whether the paper's tables need it to be there beforehand.
    key
        Its ``bob config set`` key, if it has one.
    path
        Where it is or should be.
    command
        What mends it; None if nothing has to be.
    """

    name: str
    state: str
    message: str
    needed_for: str
    required: bool
    key: str | None
    path: str | None
    command: str | None

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON writes them."""
        return asdict(self)


def take_stock(images: bool = False) -> Iterator[Item]:
    """Look at everything, one after the other; nothing is downloaded.

    Parameters
    ----------
    images
        Whether every image of the benchmarks is decoded, which takes minutes.

    Yields
    ------
        Generator, teacher, ImageNet weights, student, then the five benchmarks.
    """
    yield _look(
        "generator",
        GENERATOR,
        describe_generator,
        "training: every student of tables 1 to 5",
        f"synthdistill-fetch generator --configure (or bob config set {GENERATOR} FILE)",
    )
    yield _look(
        "teacher",
        TEACHER,
        describe_teacher,
        "training: every student of tables 1 to 5, and the teacher's own row",
        f"synthdistill-fetch teacher --configure (or bob config set {TEACHER} FILE)",
    )
    yield _imagenet()
    yield _look(
        "student",
        STUDENT,
        describe_student,
        "`-p synthdistill-student` only: the tables' students are found in their run folders",
        f"synthdistill-train tinyfar-a -o FOLDER, then bob config set {STUDENT} "
        "FOLDER/student.safetensors",
        required=False,
    )
    from .benchmarks.benchmark import REAL

    for benchmark in REAL:

        def describe(path: Path, name: str = benchmark.name) -> tuple[str, str]:
            return describe_benchmark(name, path, images)

        yield _look(
            benchmark.name,
            benchmark.key,
            describe,
            f"the column {benchmark.title} of tables 1 to 5",
            f"bob config set {benchmark.key} FOLDER, the one with {benchmark.bin_name}, or with "
            f"the images and {benchmark.list_name}",
        )


def is_complete(items: list[Item]) -> bool:
    """Tell whether all that is required, and all that is set, is right."""
    return all(i.state == RIGHT or (not i.required and i.state == UNSET) for i in items)


def describe_generator(path: Path) -> tuple[str, str]:
    """Load a generator; give the state and a description."""
    from .generators import load_generator

    generator = load_generator(path)
    text = f"StyleGAN2, {generator.resolution} px, {_millions(generator)}"
    paper = (generator.resolution, generator.z_dim, generator.w_dim) == (256, 512, 512)
    return (RIGHT, text) if paper else (OTHER, f"{text}; the paper's has 256 px, z and w of 512")


def describe_teacher(path: Path) -> tuple[str, str]:
    """Load a teacher; give the state and a description."""
    from .recognition.iresnet import LAYERS, WIDTHS
    from .recognition.teacher import load_teacher

    network = load_teacher(path).network
    text = (
        f"IResNet with {network.layers} blocks, {network.embedding_size} elements, "
        f"{_millions(network)}, eps {network.eps:g}"
    )
    paper = (network.layers, network.widths) == (LAYERS["iresnet100"], WIDTHS)
    return (RIGHT, text) if paper else (OTHER, f"{text}; the paper's is iresnet100")


def describe_student(path: Path) -> tuple[str, str]:
    """Load a student; give the state and a description."""
    from .recognition.student import load_student, read_metadata

    student = load_student(path)
    return RIGHT, f"{read_metadata(path)['architecture']}, {_millions(student)}"


def describe_benchmark(name: str, path: Path, images: bool) -> tuple[str, str]:
    """Read a benchmark's pairs, and its images if asked for; give the state and a description."""
    from .benchmarks.verification import Verification

    verification = Verification(name, path)
    number = len(verification.pairs())
    if images:
        verification.check()
    return RIGHT, f"{number:,} pairs: {verification.describe()}"


def _look(
    name: str,
    key: str,
    describe: Callable[[Path], tuple[str, str]],
    needed_for: str,
    command: str,
    required: bool = True,
) -> Item:
    """Find a configured path and describe what is there."""
    path = configured_path(key)
    if path is None:
        state, message = UNSET, f"{key} is not set"
    elif not path.exists():
        state, message = MISSING, f"there is nothing at {path}"
    else:
        try:
            state, message = describe(path)
        except SynthDistillError as error:
            state, message = WRONG, error.message
    shown = None if path is None else str(path)
    mend = None if state == RIGHT else command
    return Item(name, state, message, needed_for, required, key, shown, mend)


def _imagenet() -> Item:
    """Look for timm's weights of the three backbones in the cache."""
    from .recognition.backbones import TINYFAR, is_cached

    missing = [name for name in TINYFAR if not is_cached(name)]
    return Item(
        name="imagenet",
        state=UNSET if missing else RIGHT,
        message=f"not in the cache, for {', '.join(missing)}; training downloads them"
        if missing
        else f"in the cache, for {', '.join(TINYFAR)}",
        needed_for="the start of every student but `random`, on machines without a connection",
        required=False,
        key=None,
        path=None,
        command="synthdistill-fetch imagenet" if missing else None,
    )


def _millions(network: Any) -> str:
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters"
