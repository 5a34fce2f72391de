import numpy as np
import pandas as pd
import pytest

from bob.paper.ijcb2023_synthdistill.evaluation import plots

STYLES = plots.styles(["good", "bad"])


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(3)
    genuine = np.arange(200) % 2 == 0
    return {
        name: pd.DataFrame({"genuine": genuine, "score": rng.normal(size=200) + genuine * distance})
        for name, distance in (("good", 3.0), ("bad", 0.5))
    }


def test_roc_and_det_are_rates_of_pairs(scores):
    (ax,) = plots.plot_rates("ROC", scores, "LFW", STYLES).axes
    (det,) = plots.plot_rates("DET", scores, "LFW", STYLES).axes
    assert [line.get_label() for line in ax.lines] == ["good", "bad"]
    assert [line.get_color() for line in ax.lines] == [s["color"] for s in STYLES.values()]
    far, tar = ax.lines[1].get_data()
    assert (far[-1], tar[-1]) == (1, 1)
    genuine, score = scores["bad"]["genuine"], scores["bad"]["score"]
    accepted = score >= np.sort(score)[77]
    expected = accepted[~genuine].mean(), accepted[genuine].mean()
    assert any(np.allclose(expected, point) for point in zip(far, tar, strict=True))
    # below one false accept nothing is measured
    assert ax.get_xlim()[0] == pytest.approx(1 / 100)
    far, frr = det.lines[1].get_data()
    points = zip(far, 1 - frr, strict=True)
    assert any(np.allclose(expected, point) for point in points)


def test_histograms_count_every_pair(scores):
    # all alike, and never matching
    scores = {**scores, "equal": scores["bad"].assign(score=-np.inf)}
    axes = plots.plot_histograms(scores, "LFW", STYLES).axes
    assert [ax.get_title() for ax in axes] == list(scores)
    for ax in axes:
        assert sum(patch.get_data().values.sum() for patch in ax.patches) == 200


def test_figures_are_files_of_both_kinds_and_the_same_twice(scores, tmp_path):
    first, second = (
        plots.save_figure(plots.plot_rates("ROC", scores, "LFW", STYLES), tmp_path / folder, "roc")
        for folder in "ab"
    )
    assert [path.name for path in first] == ["roc.png", "roc.pdf"]
    # TrueType, as journals want
    assert b"/FontFile2" in first[1].read_bytes()
    assert b"/Type3" not in first[1].read_bytes()
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_training_curves_show_losses_and_cosines_against_images():
    log = pd.DataFrame(
        {
            "epoch": [1, 2],
            "images": [1000, 2000],
            "loss_resampled": [0.5, 0.25],
            "validation_cosine": [0.5, 0.75],
            "validation_mse": [np.nan, np.nan],
        }
    )
    axes = plots.plot_training({"good": log, "bad": log * 2}, STYLES).axes
    assert [ax.get_title() for ax in axes] == ["loss second batch", "validation cosine"]
    assert axes[0].lines[0].get_xdata().tolist() == [1, 2]
    assert axes[0].get_yscale() == "log"
    assert axes[1].lines[1].get_ydata().tolist() == [1.0, 1.5]
    assert plots.plot_training({}, {}) is None
    assert plots.plot_training({"good": log[["epoch"]]}, STYLES) is None


def test_published_points_are_hollow_and_never_joined():
    rows = pd.DataFrame(
        [
            {"model": "ours", "kind": "measured", "coefficient": "2", "lfw": 0.8, "lfw_std": 0.01},
            {"model": "ours too", "kind": "measured", "coefficient": "1", "lfw": 0.7},
            {"model": "theirs", "kind": "published", "coefficient": 1.5, "lfw": 0.9, "mflops": 5},
            {"model": "unknown", "kind": "measured", "coefficient": "3", "lfw": None},
        ],
        dtype=object,
    )
    ax = plots.plot_property(rows, "coefficient", {"lfw": "LFW"}, "x", "y").axes[0]
    theirs = next(line for line in ax.lines if line.get_label() == "LFW, published")
    assert theirs.get_markerfacecolor() == "none"
    assert theirs.get_linestyle() == "None"
    (ours,) = (container.lines[0] for container in ax.containers)
    assert ours.get_xdata().tolist() == [1.0, 2.0]
    assert ours.get_markerfacecolor() != "none"
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "LFW, measured" in legend
    assert any("1  theirs" in text for text in legend)
    assert plots.plot_property(rows, "images", {"lfw": "LFW"}, "x", "y") is None
    # a curve for each section
    sections = rows.assign(section=["first", "second", "first", "first"])
    given = (sections, "coefficient", {"lfw": "LFW"}, "x", "y")
    ax = plots.plot_property(*given, by_section=True).axes[0]
    curves = {bar.get_label(): bar.lines[0].get_xdata().tolist() for bar in ax.containers}
    assert curves == {"first, measured": [2.0], "second": [1.0]}
    # published FLOPs stand where multiply-adds are unknown
    (line, *_) = plots.plot_property(rows, "multiply_adds", {"lfw": "LFW"}, "x", "y").axes[0].lines
    assert line.get_xdata().tolist() == [5e6]
