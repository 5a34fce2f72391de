"""Arrange pairs as Bob wants them: references, and probes with the references of each.

Bob decides by equal ``subject_id`` whether a score is genuine, embeds every reference and every
probe, and compares a probe once with each of its references. So:

- persons are found from the genuine pairs (connected images are one person), whatever the file
  form; where a pair contradicts them (an impostor pair of two images of one person: label noise,
  or the same picture under two names), the right image is taken once more, as a stranger;
- pairs are oriented so that nearly every image is a reference or a probe, not both, and is
  embedded once: the comparison is symmetric.
"""

from collections import Counter, deque
from dataclasses import dataclass

import numpy

from .pair_lists import Pairs


@dataclass(frozen=True)
class Templates:
    """Templates (an image, seen as a person) and who is compared with whom.

    Each template has an identifier (its image's name, with a mark for strangers), the index of its
    image, and the person; ``left`` and ``right`` are the templates of pair k, as listed.
    ``references`` gives for each probe those that it is compared with, in order of appearance,
    each once.
    """

    identifiers: list[str]
    images: list[int]
    subjects: list[str]
    left: numpy.ndarray
    right: numpy.ndarray
    references: dict[int, list[int]]


def arrange(pairs: Pairs) -> Templates:
    """Find persons, templates and sides of all pairs."""
    identifiers = list(pairs.images)
    images = list(range(len(identifiers)))
    persons = _persons(pairs)
    subjects = [identifiers[person] for person in persons]
    right = pairs.right.copy()
    strangers: dict[int, int] = {}
    contradictory = ~pairs.genuine & (persons[pairs.left] == persons[pairs.right])
    for k in numpy.flatnonzero(contradictory):
        image = int(right[k])
        if image not in strangers:
            strangers[image] = len(images)
            images.append(image)
            identifiers.append(f"{pairs.images[image]}~stranger")
            subjects.append(identifiers[-1])
        right[k] = strangers[image]
    references = _orient(len(images), pairs.left.tolist(), right.tolist())
    return Templates(identifiers, images, subjects, pairs.left, right, references)


def _persons(pairs: Pairs) -> numpy.ndarray:
    """Give each image the smallest image that genuine pairs connect it with."""
    parent = list(range(len(pairs.images)))

    def root(image: int) -> int:
        while parent[image] != image:
            parent[image] = image = parent[parent[image]]
        return image

    genuine = pairs.genuine
    for left, right in zip(pairs.left[genuine], pairs.right[genuine], strict=True):
        first, second = sorted((root(left), root(right)))
        parent[second] = first
    return numpy.array([root(image) for image in range(len(parent))], dtype=int)


def _orient(count: int, left: list[int], right: list[int]) -> dict[int, list[int]]:
    """Choose reference and probe of each pair so that few templates are both."""
    neighbours: list[dict[int, None]] = [{} for _ in range(count)]
    for one, other in zip(left, right, strict=True):
        neighbours[one][other] = neighbours[other][one] = None
    probe = _two_colours(neighbours)
    # pairs within one colour: the template with most of them goes to the other side as well
    within = Counter(
        template
        for template, others in enumerate(neighbours)
        for other in others
        if probe[other] == probe[template]
    )
    references: dict[int, dict[int, None]] = {}
    for one, other in zip(left, right, strict=True):
        if probe[one] != probe[other]:
            reference = other if probe[one] else one
        else:
            both = max(one, other, key=lambda template: (within[template], -template))
            reference = both if probe[one] else (other if both == one else one)
        references.setdefault(other if reference == one else one, {})[reference] = None
    return {template: list(others) for template, others in references.items()}


def _two_colours(neighbours: list[dict[int, None]]) -> list[bool]:
    """Colour a graph breadth first: neighbours differ wherever there is no odd cycle."""
    colours: dict[int, bool] = {}
    for start in range(len(neighbours)):
        queue = deque([start]) if start not in colours else deque()
        colours.setdefault(start, False)
        while queue:
            template = queue.popleft()
            for other in neighbours[template]:
                if other not in colours:
                    colours[other] = not colours[template]
                    queue.append(other)
    return [colours[template] for template in range(len(neighbours))]
