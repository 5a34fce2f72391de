import functools
import pickle

import numpy as np
import pytest
import torch
from bob.pipelines import DelayedSample, Sample, SampleSet
from sklearn.base import clone

from bob.paper.ijcb2023_synthdistill import faces
from bob.paper.ijcb2023_synthdistill.evaluation import embedding
from bob.paper.ijcb2023_synthdistill.evaluation.embedding import EmbeddingTransformer
from bob.paper.ijcb2023_synthdistill.evaluation.network import NetworkRecipe
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def images(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3, 112, 112), dtype=np.uint8)


@pytest.fixture(scope="module")
def recipe(student_file):
    return NetworkRecipe("student", student_file)


@pytest.mark.parametrize("mirror", [True, False])
def test_embedding_is_the_networks(recipe, mirror):
    batch = images(5)
    embeddings = EmbeddingTransformer(recipe, mirror=mirror).transform(batch)
    assert embeddings.shape == (5, 512)
    assert embeddings.dtype == np.float32
    inputs = faces.from_uint8(torch.from_numpy(batch))
    network = recipe.load("cpu")
    with torch.no_grad():
        expected = network(inputs) + (network(inputs.flip(-1)) if mirror else 0)
    np.testing.assert_allclose(embeddings, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["student", "teacher"])
def test_neighbours_and_threads_change_no_bit(kind, student_file, small_teacher, monkeypatch):
    path = student_file if kind == "student" else small_teacher
    transformer, batch = EmbeddingTransformer(NetworkRecipe(kind, path)), images(37)
    whole = transformer.transform(batch)
    order = np.random.default_rng(1).permutation(37)
    assert np.array_equal(transformer.transform(batch[order]), whole[order])
    parts = [transformer.transform(batch[a:b]) for a, b in ((0, 1), (1, 12), (12, 37))]
    assert np.array_equal(np.concatenate(parts), whole)
    for cores in (1, 2, 3):
        monkeypatch.setattr(embedding, "_pool", functools.cache(embedding._pool.__wrapped__))
        monkeypatch.setattr(embedding, "_cores", lambda cores=cores: cores)
        assert np.array_equal(transformer.transform(batch), whole)


def test_samples_and_sample_sets_keep_their_metadata(recipe):
    transformer, batch = EmbeddingTransformer(recipe), images(6)
    samples = [Sample(image, key=f"k{i}", fold=i) for i, image in enumerate(batch)]
    whole = transformer.transform(batch)
    found = transformer.transform(samples)
    assert [(s.key, s.fold) for s in found] == [(f"k{i}", i) for i in range(6)]
    assert np.array_equal([s.data for s in found], whole)
    sets = [SampleSet(samples[:1], template_id="a"), SampleSet(samples[1:], template_id="b")]
    embedded = transformer.transform(sets)
    assert [(s.template_id, len(s)) for s in embedded] == [("a", 1), ("b", 5)]
    assert np.array_equal(embedded[1][4].data, whole[5])
    assert transformer.transform([]).size == 0


def test_pickle_holds_no_weights_and_still_works(recipe):
    transformer, batch = EmbeddingTransformer(recipe), images(3)
    expected = transformer.transform(batch)
    assert len(pickle.dumps(transformer)) < 2000
    assert np.array_equal(pickle.loads(pickle.dumps(transformer)).transform(batch), expected)
    assert clone(transformer).recipe == recipe


def test_unreadable_images_are_named_and_counted(recipe, tmp_path):
    from pair_world import load

    good = Sample(images(1)[0], key="good")
    bad = [DelayedSample(lambda i=i: load(tmp_path / f"gone{i}.png"), key=str(i)) for i in range(7)]
    samples = [*[good] * 20, *bad[:3], good, *bad[3:]]
    with pytest.raises(SynthDistillError, match=r"7 of 28 images cannot be read: .*gone\d.png.*;"):
        EmbeddingTransformer(recipe).transform(samples)
    wrong = Sample(np.zeros((3, 100, 100), np.uint8), key="small one")
    with pytest.raises(SynthDistillError, match="small one: expected an aligned face"):
        EmbeddingTransformer(recipe).transform([good, wrong])


def test_a_broken_network_gives_words_not_scores():
    transformer = EmbeddingTransformer(NetworkRecipe("network", "pair_world:Zero"))
    with pytest.raises(SynthDistillError, match=r"found one of length 0\.0"):
        transformer.transform(images(2))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_embeddings(recipe):
    batch = images(20)
    cpu = EmbeddingTransformer(recipe, device="cpu").transform(batch)
    cuda = EmbeddingTransformer(recipe, device="cuda").transform(batch)
    cosine = (cpu * cuda).sum(1) / np.linalg.norm(cpu, axis=1) / np.linalg.norm(cuda, axis=1)
    assert cosine.min() > 0.999
    last = EmbeddingTransformer(recipe, device="cuda").transform(batch[3:])
    assert np.array_equal(last, cuda[3:])
