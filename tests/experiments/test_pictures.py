from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from reproduction.pictures import FACE, LABEL, best_threshold, draw_pairs

from bob.paper.ijcb2023_synthdistill.benchmarks.images import ImageSource


@pytest.mark.parametrize(
    ("genuine", "impostor"),
    [([0.9, 0.8], [0.1, 0.2]), ([0.5, 0.8, 0.4], [0.3, 0.6, 0.2]), ([0.1], [0.9]), ([1.0], [1.0])],
)
def test_no_threshold_makes_fewer_mistakes(genuine, impostor):
    labels = [True] * len(genuine) + [False] * len(impostor)
    frame = pd.DataFrame({"genuine": labels, "score": genuine + impostor})

    def mistakes(threshold):
        return int(((frame["score"] > threshold) != frame["genuine"]).sum())

    every = [*frame["score"], frame["score"].min() - 1]
    assert mistakes(best_threshold(frame)) == min(mistakes(threshold) for threshold in every)


def test_pairs_are_drawn_with_their_scores(tmp_path):
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (250, 250, 0)]
    sources = []
    for number, color in enumerate(colors):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (112, 112), color).save(path)
        sources.append(ImageSource(path))
    # one genuine pair, red and green, rightly accepted; one impostor pair, blue and yellow
    pairs = SimpleNamespace(left=np.array([0, 2]), right=np.array([1, 3]))
    benchmark = SimpleNamespace(
        benchmark=SimpleNamespace(title="toyfaces-LFW"),
        opened=SimpleNamespace(pairs=pairs, sources=sources),
    )
    scores = pd.DataFrame({"genuine": [True, False], "score": [-0.1, -0.9]})
    draw_pairs(tmp_path / "pairs.png", [(benchmark, scores)], columns=1)
    with Image.open(tmp_path / "pairs.png") as picture:
        pixels = picture.convert("RGB")
    middle = 14 + FACE // 2
    places = [LABEL + FACE // 2, LABEL + 3 * FACE // 2]
    assert [pixels.getpixel((x, middle)) for x in places] == colors[:2]
    shift = 2 * FACE + 10
    assert [pixels.getpixel((x + shift, middle)) for x in places] == colors[2:]
    for score, right in ((-0.1, True), (-0.95, False)):
        # text is drawn with soft edges: of its colour is what leans to it
        scores.loc[0, "score"] = score
        draw_pairs(tmp_path / "pairs.png", [(benchmark, scores)], columns=1)
        with Image.open(tmp_path / "pairs.png") as picture:
            box = (LABEL, 14 + FACE, LABEL + shift, 14 + FACE + 14)
            caption = np.asarray(picture.convert("RGB").crop(box)).astype(int)
        green = (caption[..., 1] > caption[..., 0] + 30).any()
        orange = (caption[..., 0] > caption[..., 1] + 30).any()
        assert (green, orange) == (right, not right)
