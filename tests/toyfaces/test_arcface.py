"""The ArcFace loss against its formula, written down literally."""

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
