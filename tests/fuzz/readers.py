"""A small valid file for each reader of strangers' bytes, and the reader."""

import hashlib
import io
import json
import pickle
import tarfile
from functools import partial
from pathlib import Path

import numpy
import pandas
import timm
import torch
from PIL import Image

from bob.paper.ijcb2023_synthdistill.benchmarks import bins, images, pair_lists
from bob.paper.ijcb2023_synthdistill.benchmarks.scores import read_scores
from bob.paper.ijcb2023_synthdistill.distillation.checkpoint import (
    LAST,
    load_checkpoint,
    save_checkpoint,
)
from bob.paper.ijcb2023_synthdistill.distillation.run_folder import RunFolder
from bob.paper.ijcb2023_synthdistill.evaluation.properties import run_properties
from bob.paper.ijcb2023_synthdistill.evaluation.provenance import EVALUATION, trace
from bob.paper.ijcb2023_synthdistill.evaluation.records import SCORES, is_current
from bob.paper.ijcb2023_synthdistill.generators import load_generator, save_generator
from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import Generator
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import IResNet
from bob.paper.ijcb2023_synthdistill.recognition.student import (
    create_student,
    load_student,
    save_student,
)
from bob.paper.ijcb2023_synthdistill.recognition.teacher import load_teacher, save_teacher

from . import mutations

MICRO = Path(__file__).parents[1] / "data" / "stylegan2-micro.pkl"


def _teacher():
    torch.manual_seed(0)
    return IResNet((1, 1, 1, 1), widths=(2, 2, 2, 2), embedding_size=4).eval()


def generator_pickle(path):
    path.write_bytes(MICRO.read_bytes())
    return load_generator


def generator_safetensors(path):
    small = {"channel_base": 64, "channel_max": 4, "mapping_layers": 1}
    save_generator(path, Generator(z_dim=4, w_dim=4, resolution=8, **small))
    return load_generator


def teacher_safetensors(path):
    save_teacher(path, _teacher(), {})
    return load_teacher


def teacher_zip(path):
    torch.save(_teacher().state_dict(), path)
    return load_teacher


def teacher_legacy(path):
    torch.save(_teacher().state_dict(), path, _use_new_zipfile_serialization=False)
    return load_teacher


def teacher_archive(path):
    content = io.BytesIO()
    torch.save(_teacher().state_dict(), content)
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("iresnet100-73e07ba7.pth")
        member.size = len(content.getvalue())
        archive.addfile(member, io.BytesIO(content.getvalue()))
    return load_teacher


def student(path):
    torch.manual_seed(0)
    save_student(path, create_student("test_efficientnet", "random", embedding_size=4))
    return load_student


def own_student(path):
    make = partial(timm.models.efficientnet.test_efficientnet, num_classes=4)
    save_student(path, create_student(make, "random", embedding_size=4))
    return load_student


def checkpoint(path):
    save_checkpoint(path.parent, {"iteration": 1, "rows": [], "student": {"w": torch.ones(9)}})
    return lambda damaged: load_checkpoint(damaged.parent)


def _encoded(form):
    pixels = numpy.random.default_rng(0).integers(0, 256, (14, 14, 3), dtype=numpy.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((112, 112)).save(stream, format=form)
    return stream.getvalue()


def benchmark_bin(path):
    bins.write_bin(path, [_encoded("JPEG")[:300] for _ in range(40)], [True, False] * 10)
    return lambda damaged: bins.read_bin(damaged, 20, "LFW")


def benchmark_arrays(path):
    image = numpy.frombuffer(_encoded("JPEG")[:300], dtype=numpy.uint8)
    path.write_bytes(pickle.dumps(([image] * 40, numpy.array([True, False] * 10)), protocol=2))
    return lambda damaged: bins.read_bin(damaged, 20, "LFW")


def image(form):
    def make(path):
        path.write_bytes(_encoded(form))
        return lambda damaged: images.load_image(images.ImageSource(str(damaged)))

    return make


def lfw_list(path):
    lines = ["10\t1"]
    for fold in range(10):
        lines += [f"Name_{fold}\t1\t2", f"Name_{fold}\t1\tOther_{fold}\t3"]
    path.write_text("\n".join(lines) + "\n")
    return lambda damaged: pair_lists.read_lfw(damaged, 20)


def cross_list(path):
    genuine = "".join(f"a_{k}.jpg 1\nb_{k}.jpg 1\n" for k in range(10))
    path.write_text(genuine + "".join(f"c_{k}.jpg 0\nd_{k}.jpg 0\n" for k in range(10)))
    return lambda damaged: pair_lists.read_cross_lfw(damaged, 20)


def options(path):
    described = {"seed": 0, "epochs": 2, "resampling_coefficient": 0.5, "student": "tinyfar-a"}
    path.write_text(json.dumps({"options": described, "versions": {"torch": "2"}}))

    def read(damaged):
        RunFolder(damaged.parent).check({"options": described})
        run_properties(damaged.parent)

    return read


def training_log(path):
    path.write_text("epoch,images,loss_fresh\n1,1024,0.5\n2,2048,0.25\n")
    return lambda damaged: run_properties(damaged.parent)


class TwentyPairs:
    """A benchmark without files."""

    name = "lfw"

    def pairs(self):
        names = [(f"lfw/l{n}", f"lfw/r{n}") for n in range(20)]
        pairs = pandas.DataFrame(names, columns=["left", "right"])
        return pairs.assign(genuine=[True, False] * 10, fold=[n // 2 for n in range(20)])

    def describe(self):
        return "made up"


def score_file(path):
    lines = ["probe_template_id,probe_subject_id,bio_ref_template_id,bio_ref_subject_id,score"]
    lines += [f"lfw/l{n},{n},lfw/r{n},{n + n % 2},-0.{n}25" for n in range(20)]
    path.write_text("\n".join(lines) + "\n")
    return lambda damaged: read_scores(damaged, TwentyPairs())


def evaluation(path):
    scores = b"a score file"
    record = {
        "format": 1,
        "model": {"kind": "student", "path": "student.safetensors", "sha256": "5" * 64},
        "database": {"name": "lfw", "fingerprint": "6" * 64},
        "mirror": True,
        "scores_sha256": hashlib.sha256(scores).hexdigest(),
    }
    path.write_text(json.dumps(record))
    path.with_name(SCORES).write_bytes(scores)

    def read(damaged):
        is_current(damaged.parent, record)
        trace(damaged.with_name(SCORES), damaged.parent.parent)

    return read


READERS = {
    "generator, pickle": (generator_pickle, (mutations.whole,)),
    "generator, safetensors": (generator_safetensors, (mutations.whole, mutations.header)),
    "teacher, safetensors": (teacher_safetensors, (mutations.whole, mutations.header)),
    "teacher, torch archive": (teacher_zip, (mutations.whole, mutations.zipped)),
    "teacher, old torch file": (teacher_legacy, (mutations.whole,)),
    "teacher, tar.gz": (teacher_archive, (mutations.whole, mutations.gzipped)),
    "student, safetensors": (student, (mutations.whole, mutations.header)),
    "student of one's own": (own_student, (mutations.header,)),
    "checkpoint": (checkpoint, (mutations.whole, mutations.checkpoint)),
    "benchmark, bytes": (benchmark_bin, (mutations.whole,)),
    "benchmark, arrays": (benchmark_arrays, (mutations.whole,)),
    "options.json": (options, (mutations.whole,)),
    "log.csv": (training_log, (mutations.whole,)),
    "scores-dev.csv": (score_file, (mutations.whole,)),
    "evaluation.json": (evaluation, (mutations.whole,)),
    "LFW's list": (lfw_list, (mutations.whole,)),
    "CALFW's list": (cross_list, (mutations.whole,)),
    **{
        f"image, {form}": (image(form), (mutations.whole,))
        for form in ("JPEG", "PNG", "BMP", "WEBP")
    },
}

NAMES = {
    "checkpoint": LAST,
    "options.json": "options.json",
    "log.csv": "log.csv",
    "evaluation.json": EVALUATION,
}
"""What a file must be called where its reader is given a folder."""
