"""Which form of the networks a training uses: the fast ones, or those that are written as read.

The fast forms know the plain StyleGAN2 and IResNet only. Anything else, such as a teacher of the
user's own, is used as it is; it may offer ``set_precision(dtype)``.
"""

import os
import shutil
import sys
from dataclasses import dataclass

import torch
from torch import nn

from .. import faces
from ..files import SynthDistillError
from .options import Options
from .step import Crop

FROZEN_TYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
"""What ``--precision`` means for generator and teacher; ``auto`` is not here: see the options."""


@dataclass(frozen=True)
class FrozenNetworks:
    """Generator and teacher in the form in which the training uses them.

    Parameters
    ----------
    generator
        Gives images, or a part of each.
    teacher
        Gives embeddings of faces.
    crop
        Makes faces of what the generator gives.
    """

    generator: nn.Module
    teacher: nn.Module
    crop: Crop

    @classmethod
    def prepare(
        cls, generator: nn.Module, teacher: nn.Module, options: Options
    ) -> "FrozenNetworks":
        """Choose the forms that the options ask for.

        Parameters
        ----------
        generator, teacher
            Plain, on the device.
        options
            Its ``plain``, ``precision`` and ``compile`` count.

        Raises
        ------
        SynthDistillError
            A network cannot compute in the precision that was asked for, or the networks are to be
            compiled without a compiler.
        """
        dtype = FROZEN_TYPES.get(options.precision)
        if options.plain:
            return cls(_in_type(generator, dtype), _in_type(teacher, dtype), faces.crop)
        if options.compile:
            _check_compiler()
        from ..generators import inference as of_generators
        from ..recognition import inference as of_teachers

        fast_generator = of_generators.for_inference(generator, dtype)
        fast_teacher = of_teachers.for_inference(teacher, dtype)
        if fast_generator is generator:
            fast_generator = _in_type(generator, dtype)
        if fast_teacher is teacher:
            fast_teacher = _in_type(teacher, dtype)
        elif options.compile:
            fast_teacher.compile()
        return cls(fast_generator, fast_teacher, faces.crop)


def prepare_student(student: nn.Module, options: Options) -> nn.Module:
    """Lay the student's convolutions out as the device likes them, and compile it if asked for."""
    if options.plain:
        return student
    from ..recognition.own import lay_out

    student = lay_out(student)
    if options.compile:
        # in place, so that the names of its parameters stay
        student.compile()
    return student


def _check_compiler() -> None:
    """Refuse to begin without the C++ compiler that torch.compile calls in the first step."""
    # the names that torch's inductor looks for
    name = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name) is None:
        raise SynthDistillError(
            f"--compile needs a C++ compiler, but {name} was not found: install one, name another "
            "by the environment variable CXX, or use --no-compile."
        )


def _in_type(network: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """Let a network that has no fast form compute in a type."""
    if dtype is None:
        return network
    if callable(set_precision := getattr(network, "set_precision", None)):
        set_precision(dtype)
    elif dtype != torch.float32:
        raise SynthDistillError(
            f"{type(network).__name__} has no reduced precision here: use --precision 32"
        )
    return network
