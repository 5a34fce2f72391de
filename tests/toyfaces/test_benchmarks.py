"""The miniature benchmarks: drawn as declared, the same through every layout."""

import numpy
import pytest
import torch
from scipy.ndimage import affine_transform

from bob.paper.ijcb2023_synthdistill import faces
from bob.paper.ijcb2023_synthdistill.benchmarks.benchmark import REAL
from bob.paper.ijcb2023_synthdistill.benchmarks.images import is_drawn, load_image
from bob.paper.ijcb2023_synthdistill.benchmarks.verification import Verification
from bob.paper.ijcb2023_synthdistill.files import (
    SynthDistillError,
    configure_path,
)
from bob.paper.ijcb2023_synthdistill.toyfaces import TRAINING_SEED
from bob.paper.ijcb2023_synthdistill.toyfaces.benchmarks import (
    TOYFACES_KEY,
    cache_folder,
)
from bob.paper.ijcb2023_synthdistill.toyfaces.layouts import LAYOUTS, place, write
from bob.paper.ijcb2023_synthdistill.toyfaces.miniature import draw
from bob.paper.ijcb2023_synthdistill.toyfaces.renderer import render

NAMES = [real.name for real in REAL]


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """All five in all layouts, 2 pairs a fold."""
    folder = tmp_path_factory.mktemp("toyfaces")
    write(folder, NAMES, LAYOUTS, seed=5, pairs_per_fold=2)
    return folder


def opened(folder, layout, name):
    return Verification(f"toyfaces-{name}", place(folder, layout, name), pairs=20).opened


def pixel_pairs(found):
    """List pairs by what is seen: fold, label and the pixels of both images."""
    images = [load_image(source).tobytes() for source in found.sources]
    pairs = found.pairs
    return sorted(
        (int(fold), bool(genuine), images[left], images[right])
        for left, right, genuine, fold in zip(
            pairs.left, pairs.right, pairs.genuine, pairs.fold, strict=True
        )
    )


@pytest.mark.parametrize("name", NAMES)
def test_layouts_agree(written, name):
    from_bin = pixel_pairs(opened(written, "bin", name))
    assert len(from_bin) == 20
    aligned, unaligned = (opened(written, layout, name) for layout in ("aligned", "unaligned"))
    assert pixel_pairs(aligned) == from_bin
    # these faces are those of the renderer, but for JPEG
    miniature = draw(name, 5, 2)
    (drawn,) = faces.to_uint8(render(miniature.identities[:1], miniature.conditions[:1])).int()
    seen = {image for pair in from_bin for image in pair[2:]}
    seen = [numpy.frombuffer(image, "u1").reshape(3, 112, 112) for image in seen]
    assert min(numpy.abs(image - drawn.numpy()).mean() for image in seen) < 5
    # photographs: the same pairs in the same order
    assert unaligned.pairs.images == aligned.pairs.images
    for attribute in ("left", "right", "genuine", "fold"):
        one, other = (getattr(found.pairs, attribute) for found in (unaligned, aligned))
        assert numpy.array_equal(one, other)
    assert load_image(unaligned.sources[0]).shape == (3, 250, 250)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_drawn_faces_say_so_and_do_not_pass_as_photographs(written, name, layout):
    assert all(map(is_drawn, opened(written, layout, name).sources))
    if layout != "bin":
        assert all("ToyFaces" in image for image in opened(written, layout, name).pairs.images)
    with pytest.raises(SynthDistillError, match="drawn faces"):
        Verification(name, place(written, layout, name), pairs=20).pairs()


def test_eye_positions_align_photographs(written):
    """The similarity that takes the eyes to the template gives the aligned image, to a fraction."""
    aligned, unaligned = (opened(written, layout, "lfw") for layout in ("aligned", "unaligned"))
    to_left, to_right = (complex(*eye) for eye in (faces.LEFT_EYE, faces.RIGHT_EYE))

    def difference(move):
        total = 0.0
        for number in range(12):
            photograph = load_image(unaligned.sources[number]).astype(float)
            left, right = (complex(*unaligned.eyes[number][eye]) + move for eye in ("reye", "leye"))
            factor = (right - left) / (to_right - to_left)
            matrix = [[factor.real, -factor.imag], [factor.imag, factor.real]]
            offset = left - factor * to_left
            offset = [offset.real, offset.imag]
            crop = [affine_transform(c, matrix, offset, (112, 112), order=1) for c in photograph]
            expected = load_image(aligned.sources[number]).astype(float)
            # the middle, where a photograph always has pixels
            total += numpy.abs(numpy.stack(crop) - expected)[:, 20:92, 20:92].mean()
        return total / 12

    # what remains is noise, JPEG and interpolation
    assert difference(0) < 8
    assert all(difference(0) < difference(move) for move in (1, -1, 1j, -1j))


def test_same_seed_same_bytes(tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / folder, ["agedb-30"], LAYOUTS, seed=3, pairs_per_fold=2)
    files = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) > 50
    for path in files:
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes()
    write(tmp_path / "c", ["agedb-30"], ["bin"], seed=4, pairs_per_fold=2)
    one, other = (tmp_path / folder / "bin/agedb_30.bin" for folder in ("a", "c"))
    assert one.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_drawn_as_declared(name):
    miniature = draw(name)
    # few enough to be drawn in seconds, enough to be in few pairs each
    assert 2350 < len(miniature.photographs) <= 2400
    assert len(miniature.photographs) == len(miniature.identities) == len(miniature.conditions)
    pairs = miniature.pairs
    assert len(set(pairs)) == len(pairs) == 6000
    assert [fold for *_, fold in pairs] == [k // 600 for k in range(6000)]
    people = [set() for _ in range(10)]
    for left, right, genuine, fold in pairs:
        one, other = miniature.photographs[left], miniature.photographs[right]
        assert (one.person == other.person) is genuine
        assert (one.right, other.right) == (False, True)
        assert torch.equal(miniature.identities[left], miniature.identities[right]) is genuine
        people[fold] |= {one.person, other.person}
    assert sum(genuine for _, _, genuine, _ in pairs) == 3000
    # no person in two folds, all persons in use; those that networks were trained on in none
    assert sum(map(len, people)) == len(set.union(*people)) == 400
    with pytest.raises(SynthDistillError, match="trained on"):
        draw(name, TRAINING_SEED)


def test_drawn_at_first_use(tmp_path):
    found = Verification("toyfaces-lfw", pairs=20)
    assert len(found.pairs()) == 20
    path = cache_folder(2) / "bin/lfw.bin"
    assert path.is_relative_to(tmp_path)
    before = path.stat().st_mtime_ns
    assert Verification("toyfaces-lfw", pairs=20).fingerprint() == found.fingerprint()
    assert path.stat().st_mtime_ns == before


def test_configured_folder_decides(tmp_path, written):
    configure_path(TOYFACES_KEY, written)
    # the number of pairs is what the folder was drawn with
    assert len(Verification("toyfaces-lfw").pairs()) == 20
    assert str(written) in Verification("toyfaces-agedb-30").describe()
    with pytest.raises(SynthDistillError, match="2 pairs a fold, not 600"):
        Verification("toyfaces-lfw", pairs=6000).pairs()
    configure_path(TOYFACES_KEY, tmp_path)
    (tmp_path / "mine.txt").write_text("important")
    with pytest.raises(SynthDistillError, match="something else"):
        Verification("toyfaces-lfw").pairs()
    write(tmp_path / "a", ["lfw"], ["aligned"], seed=3, pairs_per_fold=2)
    configure_path(TOYFACES_KEY, tmp_path / "a")
    assert "aligned images" in Verification("toyfaces-lfw").describe()
    # what is not there yet is drawn with the same settings
    assert len(Verification("toyfaces-calfw").pairs()) == 20
    assert (tmp_path / "a/bin/calfw.bin").exists()
