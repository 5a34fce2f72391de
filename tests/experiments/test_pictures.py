from types import SimpleNamespace

import numpy as np
import pandas as pd
from pictures import draw_pairs
from PIL import Image

from bob.paper.ijcb2023_synthdistill.benchmarks.images import ImageSource


def test_pairs_stand_under_their_scores(tmp_path):
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (250, 250, 0)]
    for number, color in enumerate(colors):
        Image.new("RGB", (112, 112), color).save(tmp_path / f"{number}.png")
    sources = [ImageSource(tmp_path / f"{number}.png") for number in range(4)]
    pairs = SimpleNamespace(left=np.array([0, 2]), right=np.array([1, 3]))
    benchmark = SimpleNamespace(
        benchmark=SimpleNamespace(title="toyfaces-LFW"),
        opened=SimpleNamespace(pairs=pairs, sources=sources),
    )
    scores = pd.DataFrame({"genuine": [True, False], "score": [-0.1, -0.9]})
    drawn = draw_pairs([(benchmark, scores)], columns=1).axes
    titles = [ax.get_title() for ax in drawn]
    assert titles == ["genuine, score -0.10, right", "impostor, score -0.90, right"]
    assert "threshold -0.90" in drawn[0].get_ylabel()
    other = draw_pairs([(benchmark, scores.assign(score=[-0.9, -0.1]))], columns=1).axes
    wrong = [ax.spines["top"].get_linestyle() == "--" for ax in other]
    assert wrong == ["wrong" in ax.get_title() for ax in other] == [True, False]
    faces = [ax.get_images()[0].get_array()[56, x] for ax in drawn for x in (56, 168)]
    assert np.array_equal(faces, colors)
