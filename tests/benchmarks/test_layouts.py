"""What a folder holds, and what is said when it holds something else."""

import dataclasses
import io
import re
import unicodedata

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from small_images import encode

from bob.paper.ijcb2023_synthdistill.benchmarks.benchmark import benchmarks, get_benchmark
from bob.paper.ijcb2023_synthdistill.benchmarks.bins import write_bin
from bob.paper.ijcb2023_synthdistill.benchmarks.layouts import EYES_COLUMNS, EYES_FILE, open_layout
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

LFW = get_benchmark("lfw", 20)


def refuses(expected, folder, benchmark=LFW):
    with pytest.raises(SynthDistillError, match=re.escape(expected)) as raised:
        open_layout(benchmark, folder)
    return raised.value.message


def test_declarations():
    real = [found for found in benchmarks().values() if not found.drawn]
    numbers = {"lfw": 6000, "calfw": 6000, "cplfw": 6000, "cfp-fp": 7000, "agedb-30": 6000}
    assert {benchmark.name: benchmark.pairs for benchmark in real} == numbers
    # the registered ones come in the same order
    assert list(benchmarks()) == [*numbers, *(f"toyfaces-{name}" for name in numbers)]
    agedb = get_benchmark("agedb-30")
    assert (agedb.key, agedb.bin_name) == ("bob.bio.face.agedb_30.directory", "agedb_30.bin")
    with pytest.raises(SynthDistillError, match="multiple of 20"):
        get_benchmark("lfw", 30)
    with pytest.raises(SynthDistillError, match=r"Did you mean 'lfw'\? Choose one of: lfw"):
        get_benchmark("lfv")


def test_aligned_folder(lfw_folder):
    opened = open_layout(LFW, lfw_folder)
    assert "aligned images" in opened.description
    place = opened.pairs.images.index("Anné van der Berg 1/Anné van der Berg 1_0002")
    assert opened.sources[place].path.endswith("Anné van der Berg 1_0002.png")
    # two images of each person are in the list; the third is not asked for
    assert (len(opened.pairs), len(opened.pairs.images)) == (20, 20)


@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_as_macos_stores_them(lfw_folder, write_eyes, form, other):
    for path in sorted((lfw_folder / "images").rglob("*"), reverse=True):
        path.rename(path.with_name(unicodedata.normalize(form, path.name)))
    write_eyes(lfw_folder)
    pairs = lfw_folder / "pairs.txt"
    pairs.write_text(unicodedata.normalize(other, pairs.read_text("utf-8")), "utf-8")
    opened = open_layout(LFW, lfw_folder)
    assert len(opened.sources) == len(opened.eyes) == 20
    assert unicodedata.is_normalized(other, opened.pairs.images[0])


@pytest.mark.parametrize("directory", ["", "aligned"])
def test_a_list_whose_names_start_elsewhere(tmp_path, directory):
    (tmp_path / "aligned").mkdir()
    for number in range(40):
        (tmp_path / f"aligned/{number}.jpg").write_bytes(encode(number))
    lines = [f"calfw/aligned/{number}.jpg {number // 20}\n" for number in range(40)]
    (tmp_path / directory / "pairs_CALFW.txt").write_text("".join(lines))
    opened = open_layout(get_benchmark("calfw", 20), tmp_path / directory)
    assert opened.sources[7].path == str(tmp_path / "aligned/7.jpg")
    assert opened.pairs.images[7] == "calfw/aligned/7"


def test_bin_in_folder_or_itself(tmp_path, images, labels):
    write_bin(tmp_path / "lfw.bin", images, labels)
    write_bin(tmp_path / "calfw.bin", images[::-1], labels)
    one, other = open_layout(LFW, tmp_path), open_layout(LFW, tmp_path / "lfw.bin")
    assert one.sources == other.sources
    assert "InsightFace" in one.description
    assert open_layout(get_benchmark("calfw", 20), tmp_path).sources != one.sources


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("layout", ["bin", "folder", "folder, by name"])
def test_drawn_faces_do_not_pass_as_photographs(lfw_folder, labels, kind, layout):
    words = "ToyFaces: drawn by bob.paper.ijcb2023_synthdistill"
    text = PngInfo()
    text.add_text("Comment", words)
    comment = {"PNG": {"pnginfo": text}, "JPEG": {"comment": words}}[kind]
    stream = io.BytesIO()
    Image.new("RGB", (112, 112)).save(stream, kind, **({} if "name" in layout else comment))
    for path in (lfw_folder / "images").rglob("*.png"):
        path.write_bytes(stream.getvalue())
    if layout == "bin":
        write_bin(lfw_folder / "lfw.bin", [stream.getvalue()] * 40, labels)
    if "name" in layout:
        pairs = lfw_folder / "pairs.txt"
        pairs.write_text(pairs.read_text("utf-8").replace("Bob_2\t", "ToyFaces_2\t"), "utf-8")
        for path in (lfw_folder / "images/Bob_2").iterdir():
            path.rename(path.with_name(path.name.replace("Bob", "ToyFaces")))
        (lfw_folder / "images/Bob_2").rename(lfw_folder / "images/ToyFaces_2")
    message = refuses("holds drawn faces (ToyFaces), and not LFW", lfw_folder)
    assert "bob config set bob.bio.face.lfw.directory" in message
    assert open_layout(dataclasses.replace(LFW, drawn=True), lfw_folder).description in message


def test_nothing_there(tmp_path):
    message = refuses("is empty", tmp_path)
    for words in ("`lfw.bin`", "`pairs.txt`", "bob config set bob.bio.face.lfw.directory"):
        assert words in message
    refuses("does not exist", tmp_path / "none")
    (tmp_path / "x.txt").write_text("x")
    refuses("holds neither", tmp_path)


def test_missing_images_are_named_and_counted(lfw_folder):
    (lfw_folder / "images/Bob_2/Bob_2_0001.png").unlink()
    (lfw_folder / "images/Bob_4/Bob_4_0002.png").unlink()
    message = refuses("2 of 20 images of LFW are missing", lfw_folder)
    assert "Bob_2/Bob_2_0001, Bob_4/Bob_4_0002" in message
    (lfw_folder / "images").rename(lfw_folder.parent / "elsewhere")
    refuses("20 of 20 images of LFW are missing", lfw_folder)


def test_wrong_number_of_pairs(lfw_folder):
    path = lfw_folder / "pairs.txt"
    path.write_text("\n".join(path.read_text(encoding="utf-8").split("\n")[:-3]), encoding="utf-8")
    message = refuses("lists 18 pairs, 9 of them genuine; LFW has 20 and 10", lfw_folder)
    assert str(path) in message


def test_unaligned_without_eyes(lfw_folder):
    path = lfw_folder / "images/Anné van der Berg 1/Anné van der Berg 1_0001.png"
    path.write_bytes(encode(1, size=250))
    message = refuses("250x250", lfw_folder)
    assert EYES_FILE in message
    assert ", ".join(EYES_COLUMNS) in message


def test_eyes(lfw_folder, write_eyes):
    write_eyes(lfw_folder)
    opened = open_layout(LFW, lfw_folder)
    assert opened.eyes[0] == {"reye": (10.5, 30.0), "leye": (11.0, 70.0)}
    assert not any(source.aligned for source in opened.sources)
    # the columns may have any order, and others may stand between them
    write_eyes(lfw_folder, "7,70,11,30,10.5,{path}", "x,leye_x,leye_y,reye_x,reye_y,path")
    assert open_layout(LFW, lfw_folder).eyes == opened.eyes


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("{path},nan,30,11,70", "not finite"),
        ("{path},1,30", "four numbers"),
        ("{path},10,70,10,30", "eyes exchanged in 20 of 20"),
        ("x{path},10,30,10,70", "lacks the eye positions of 20 of 20 images"),
    ],
)
def test_wrong_eyes(lfw_folder, write_eyes, row, expected):
    write_eyes(lfw_folder, row)
    refuses(expected, lfw_folder)
    write_eyes(lfw_folder, header="path,x,y")
    refuses("must have the columns", lfw_folder)
