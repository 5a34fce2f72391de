"""Small benchmarks of random images, in every form."""

import pytest
from small_images import encode


@pytest.fixture(scope="session")
def images():
    """Forty encoded images, all different."""
    return [encode(seed) for seed in range(40)]


@pytest.fixture(scope="session")
def labels():
    """Labels of twenty pairs in ten folds: genuine, impostor, ..."""
    return [True, False] * 10


@pytest.fixture
def lfw_folder(tmp_path):
    """An aligned folder in LFW's form: ten persons of three images, twenty pairs."""
    folder = tmp_path / "data"
    lines = ["10\t1"]
    for person in range(1, 11):
        name = f"Anné van der Berg {person}" if person % 2 else f"Bob_{person}"
        other = f"Anné van der Berg {person + 1}" if (person + 1) % 2 else f"Bob_{person + 1}"
        (folder / "images" / name).mkdir(parents=True)
        for number in range(1, 4):
            path = folder / "images" / name / f"{name}_{number:04d}.png"
            path.write_bytes(encode(person * 10 + number))
        # image 2 of a person is a right image here and, below, a left one
        lines += [f"{name}\t1\t2", f"{name}\t2\t{other if person < 10 else 'Bob_2'}\t2"]
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def write_eyes():
    """Give the function that writes the eye positions of all images of a folder."""

    def write(folder, row="{path},10.5,30,11,70", header="path,reye_y,reye_x,leye_y,leye_x"):
        paths = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))
        start = folder / "images" if (folder / "images").is_dir() else folder
        lines = [row.format(path=path.relative_to(start)) for path in paths]
        (folder / "eye_positions.csv").write_text("\n".join([header, *lines]), encoding="utf-8")

    return write
