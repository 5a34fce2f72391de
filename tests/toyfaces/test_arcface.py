"""The ArcFace loss against its formula, written down literally."""

import itertools
import math

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.toyfaces.arcface import ArcFace


def test_loss_is_the_formula():
    head = ArcFace(5, 8, margin=0.4, scale=10.0)
    embeddings, labels = torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    total = 0.0
    for embedding, label in zip(embeddings, labels.tolist(), strict=True):
        logits = []
        for number, centre in enumerate(head.centres):
            cosine = torch.cosine_similarity(embedding, centre, dim=0).item()
            angle = math.acos(cosine) + (0.4 if number == label else 0.0)
            logits.append(10.0 * math.cos(angle))
        total -= logits[label] - math.log(sum(math.exp(v) for v in logits))
    assert head(embeddings, labels).item() == pytest.approx(total / 6, rel=1e-4)


def test_the_loss_falls_with_the_angle_everywhere():
    head = ArcFace(2, 2, margin=0.5, scale=5.0)
    with torch.no_grad():
        head.centres.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    angles = torch.linspace(0.0, math.pi, 60)
    losses = []
    for angle in angles:
        embedding = torch.stack([angle.cos(), angle.sin()])[None]
        head.centres.data[1] = -embedding[0]
        losses.append(head(embedding, torch.tensor([0])).item())
    assert all(b >= a - 1e-4 for a, b in itertools.pairwise(losses))
