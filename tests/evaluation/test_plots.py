import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import norm

from bob.paper.ijcb2023_synthdistill.evaluation import plots


@pytest.fixture(scope="module")
def pair_scores():
    rng = np.random.default_rng(3)
    genuine = np.arange(200) % 2 == 0
    return {
        name: (genuine, rng.normal(size=200) + genuine * distance)
        for name, distance in (("good", 3.0), ("bad", 0.5))
    }


def test_roc_ends_where_everything_is_accepted(pair_scores):
    (ax,) = plots.plot_roc(pair_scores, "LFW").axes
    genuine, score = pair_scores["good"]
    assert [line.get_label() for line in ax.lines] == ["good", "bad"]
    far, tar = ax.lines[0].get_data()
    assert (far[-1], tar[-1]) == (1, 1)
    # at the threshold of any score both rates are counts of pairs
    threshold = np.sort(score)[77]
    expected = ((score >= threshold)[~genuine].mean(), (score >= threshold)[genuine].mean())
    assert any(np.allclose(expected, point) for point in zip(far, tar, strict=True))
    # below one false accept nothing is measured
    assert ax.get_xlim()[0] == pytest.approx(1 / 100)


def test_det_mirrors_the_roc(pair_scores):
    (ax,) = plots.plot_det(pair_scores, "LFW").axes
    far, frr = norm.cdf(ax.lines[1].get_data())
    genuine, score = pair_scores["bad"]
    threshold = np.sort(score)[100]
    accepted = score >= threshold
    expected = (accepted[~genuine].mean(), 1 - accepted[genuine].mean())
    assert any(np.allclose(expected, point) for point in zip(far, frr, strict=True))


def test_histograms_count_every_pair(pair_scores):
    axes = plots.plot_histograms(pair_scores, "LFW").axes
    assert [ax.get_title() for ax in axes] == ["good", "bad"]
    for ax in axes:
        assert sum(patch.get_data().values.sum() for patch in ax.patches) == 200


def test_equal_and_perfect_scores_can_be_drawn(tmp_path):
    genuine = np.arange(20) % 2 == 0
    scores = {"equal": (genuine, np.zeros(20)), "perfect": (genuine, genuine.astype(float))}
    for plot in (plots.plot_roc, plots.plot_det, plots.plot_histograms):
        plots.save_figure(plot(scores, "x"), tmp_path, "x")


def test_figures_are_files_of_both_kinds_and_the_same_twice(pair_scores, tmp_path):
    first = plots.save_figure(plots.plot_roc(pair_scores, "LFW"), tmp_path / "a", "roc")
    second = plots.save_figure(plots.plot_roc(pair_scores, "LFW"), tmp_path / "b", "roc")
    assert [path.name for path in first] == ["roc.png", "roc.pdf"]
    with Image.open(first[0]) as picture:
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10
    assert first[1].read_bytes().startswith(b"%PDF")
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_training_curves_show_losses_and_cosines_against_images():
    log = pd.DataFrame(
        {
            "epoch": [1, 2],
            "images": [100, 200],
            "learning_rate": [1e-3, 1e-3],
            "loss_fresh": [0.5, 0.25],
            "validation_cosine": [0.5, 0.75],
            "validation_mse": [np.nan, np.nan],
        }
    )
    axes = plots.plot_training({"run": log, "longer": log * 2}).axes
    assert [ax.get_title() for ax in axes] == ["loss fresh", "validation cosine"]
    assert axes[0].lines[0].get_xdata().tolist() == [100, 200]
    assert axes[0].get_yscale() == "log"
    assert axes[1].lines[1].get_ydata().tolist() == [1.0, 1.5]


def test_no_logs_no_figure():
    assert plots.plot_training({}) is None
    assert plots.plot_training({"run": pd.DataFrame({"epoch": [1]})}) is None


def test_published_points_are_hollow_and_never_joined():
    rows = pd.DataFrame(
        [
            {"model": "ours", "kind": "measured", "coefficient": "2", "lfw": 0.8, "lfw_std": 0.01},
            {"model": "ours too", "kind": "measured", "coefficient": "1", "lfw": 0.7},
            {"model": "theirs", "kind": "published", "coefficient": 1.5, "lfw": 0.9},
            {"model": "unknown", "kind": "measured", "coefficient": "3", "lfw": None},
        ],
        dtype=object,
    )
    ax = plots.plot_property(rows, "coefficient", {"lfw": "LFW"}, "x", "y").axes[0]
    lines = {line.get_label(): line for line in ax.lines}
    theirs = lines["LFW, published"]
    assert theirs.get_markerfacecolor() == "none"
    assert theirs.get_linestyle() == "None"
    (ours,) = (container.lines[0] for container in ax.containers)
    assert ours.get_xdata().tolist() == [1.0, 2.0]
    assert ours.get_markerfacecolor() != "none"
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "LFW, measured" in legend
    assert any("1  theirs" in text for text in legend)
    assert plots.plot_property(rows, "images", {"lfw": "LFW"}, "x", "y") is None


def test_published_flops_stand_where_multiply_adds_are_unknown():
    rows = [{"model": "a", "kind": "published", "mflops": 12.5, "lfw": 0.9}]
    rows += [{"model": "b", "kind": "measured", "multiply_adds": 7e6, "lfw": 0.8}]
    figure = plots.plot_property(pd.DataFrame(rows), "multiply_adds", {"lfw": "LFW"}, "x", "y")
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert lines["LFW, published"].get_xdata().tolist() == [12.5e6]
