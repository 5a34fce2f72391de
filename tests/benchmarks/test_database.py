"""The Bob database through Bob's own machinery, from images to the accuracy."""

import os
import pickle
import re
from importlib.metadata import entry_points

import numpy
import pandas
import pytest
from score_files import Pixels, evaluate
from small_images import encode

from bob.paper.ijcb2023_synthdistill import faces
from bob.paper.ijcb2023_synthdistill.benchmarks.benchmark import benchmarks
from bob.paper.ijcb2023_synthdistill.benchmarks.bins import write_bin
from bob.paper.ijcb2023_synthdistill.benchmarks.database import ALIGNED_EYES, PairDatabase
from bob.paper.ijcb2023_synthdistill.benchmarks.images import ImageSource, load_image
from bob.paper.ijcb2023_synthdistill.benchmarks.scores import read_scores
from bob.paper.ijcb2023_synthdistill.benchmarks.verification import Verification
from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import network_pipeline
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


@pytest.fixture
def triangle(tmp_path, images):
    """A .bin with repeated, reversed and contradictory pairs, and images on both sides."""
    chosen = [(k % 5, (k + 1) % 5) for k in range(20)]
    chosen[5:9] = [(0, 1), (1, 0), (3, 3), (2, 2)]
    genuine = [True, False] * 10
    path = tmp_path / "lfw.bin"
    write_bin(path, [images[image] for pair in chosen for image in pair], genuine)
    return path, chosen, genuine


@pytest.mark.parametrize("client", [None, "single-threaded"])
def test_every_pair_gets_its_score(tmp_path, triangle, images, client):
    path, chosen, genuine = triangle
    database = PairDatabase("lfw", path, pairs=20)
    evaluate(network_pipeline(Pixels, mirror=False), database, tmp_path, client)
    scores_path = tmp_path / "scores-dev.csv"
    scores = read_scores(scores_path, database)
    embeddings = [Pixels.embed(load_image(ImageSource("", content=image))) for image in images]
    units = [embedding / numpy.linalg.norm(embedding) for embedding in embeddings]
    expected = [units[left] @ units[right] - 1 for left, right in chosen]
    assert scores["score"].tolist() == pytest.approx(expected, abs=1e-6)
    assert scores["genuine"].tolist() == genuine
    assert scores["fold"].tolist() == [k // 2 for k in range(20)]
    # Bob's own tools take the same pairs for genuine; a repeated pair is one row
    rows = pandas.read_csv(scores_path, dtype=str)
    known = {frozenset(row[:2]): row[2] for row in scores[["left", "right", "genuine"]].to_numpy()}
    for row in rows.itertuples():
        same = row.probe_subject_id == row.bio_ref_subject_id
        assert same == known[frozenset((row.probe_template_id, row.bio_ref_template_id))]
    assert len(rows) == len(known) < 20


def test_metadata(lfw_folder, triangle):
    database = PairDatabase("lfw", lfw_folder, pairs=20)
    everything = database.references() + database.probes()
    assert len({sample_set.template_id for sample_set in everything}) == 20
    first = next(s for s in everything if s.template_id.endswith("Berg 1_0002"))
    assert first.template_id == "lfw/Anné van der Berg 1/Anné van der Berg 1_0002"
    assert (first.fold, first.label) == ("0", "genuine+impostor")
    assert first.samples[0].data.shape == (3, 112, 112)
    assert first.samples[0].data.dtype == numpy.uint8
    assert first.samples[0].annotations is None
    assert database.fixed_positions == ALIGNED_EYES
    assert ALIGNED_EYES == {"reye": faces.LEFT_EYE, "leye": faces.RIGHT_EYE}
    assert database.references(group="eval") == database.probes("eval") == []
    assert len(database.all_samples()) == 20
    # an image on both sides has two keys
    both = PairDatabase("lfw", triangle[0], pairs=20)
    keys = [s.samples[0].key for s in both.references() + both.probes()]
    assert len(set(keys)) == len(keys)
    assert any(key.endswith("~probe") for key in keys)


def test_samples_travel(triangle):
    database = PairDatabase("lfw", triangle[0], pairs=20)
    references = database.references()
    content = pickle.dumps(references)
    assert len(content) < 4000
    for sample_set, other in zip(references, pickle.loads(content), strict=True):
        assert (sample_set.samples[0].data == other.samples[0].data).all()
    assert pickle.loads(pickle.dumps(database)).pairs().equals(database.pairs())


def test_fingerprint_is_of_pairs_and_images(tmp_path, images, labels, lfw_folder):
    def fingerprint(images, labels):
        write_bin(tmp_path / "lfw.bin", images, labels)
        return Verification("lfw", tmp_path / "lfw.bin", pairs=20).fingerprint()

    first = fingerprint(images, labels)
    assert fingerprint(images, labels) == first
    assert fingerprint(images, labels[::-1]) != first
    assert fingerprint([*images[:-1], images[-1] + b"\0"], labels) != first
    folder = PairDatabase("lfw", lfw_folder, pairs=20)
    before = folder.fingerprint()
    # another image of the same size and time, in the same place
    place = lfw_folder / "images/Bob_2/Bob_2_0001.png"
    times, content = place.stat(), bytearray(place.read_bytes())
    content[-20] ^= 1
    place.write_bytes(content)
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert folder.fingerprint() != before


def test_nothing_is_opened_at_construction():
    assert "none" in str(PairDatabase("lfw", "/none/such"))
    with pytest.raises(
        SynthDistillError, match=re.escape("bob config set bob.bio.face.lfw.directory")
    ):
        PairDatabase("lfw").references()
    with pytest.raises(SynthDistillError, match="Choose one of"):
        PairDatabase("lfw2")
    with pytest.raises(SynthDistillError, match="`refuse` or `never-match`"):
        PairDatabase("lfw", missing="skip")


def test_unusable_images_are_all_named(tmp_path, lfw_folder):
    first, second = (lfw_folder / f"images/Bob_{n}/Bob_{n}_0002.png" for n in (2, 4))
    first.write_bytes(encode(1, size=96))
    # its header is right: only decoding tells
    second.write_bytes(second.read_bytes()[:200])
    database = PairDatabase("lfw", lfw_folder, pairs=20)
    with pytest.raises(SynthDistillError, match=r"1 of 20 images of LFW cannot.*Bob_2_0002.*96x96"):
        database.references()  # before anything is computed
    with pytest.raises(SynthDistillError, match=r"2 of 20 images .*Bob_2_0002.*Bob_4_0002"):
        database.check()
    first.write_bytes(encode(1))
    with pytest.raises(SynthDistillError, match=r"1 of 20 images .*Bob_4_0002"):
        evaluate(
            network_pipeline(Pixels), PairDatabase("lfw", lfw_folder, pairs=20), tmp_path / "out"
        )
    assert not (tmp_path / "out/scores-dev.csv").exists()


@pytest.mark.parametrize(
    ("eyes", "size", "words"),
    [
        ("48,40,48,251", 250, "Bob_2_0001.png: its eyes .* outside of its 250x250 pixels"),
        ("48,40,48,40.5", 250, "less than 3 pixels"),
        ("120,95,120,162", 112, "as aligned faces have"),
    ],
)
def test_eyes_that_cannot_be(lfw_folder, write_eyes, eyes, size, words):
    for number, path in enumerate((lfw_folder / "images").rglob("*.png")):
        path.write_bytes(encode(number, size))
    write_eyes(lfw_folder, f"{{path}},{eyes}")
    with pytest.raises(SynthDistillError, match=words):
        PairDatabase("lfw", lfw_folder, pairs=20).probes()


def test_unusable_images_never_match_on_request(lfw_folder):
    (lfw_folder / "images/Bob_2/Bob_2_0001.png").unlink()
    half = lfw_folder / "images/Bob_4/Bob_4_0002.png"
    half.write_bytes(half.read_bytes()[:200])
    database = PairDatabase("lfw", lfw_folder, pairs=20, missing="never-match")
    samples = {sample.key: getattr(sample, "unusable", "") for sample in database.all_samples()}
    said = {key: words for key, words in samples.items() if words}
    assert list(said) == ["lfw/Bob_2/Bob_2_0001", "lfw/Bob_4/Bob_4_0002"]
    assert "No such file" in said["lfw/Bob_2/Bob_2_0001"]
    assert len(database.pairs()) == 20
    assert database.fingerprint() == database.fingerprint()


def test_entry_points():
    for name in benchmarks():
        (database,) = entry_points(group="bob.bio.database", name=name)
        assert str(database.load()) == f"PairDatabase('{name}')"
        (module,) = entry_points(group="bob.bio.config", name=name)
        assert module.load().database.name == name
