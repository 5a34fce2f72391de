"""Arrange pairs as Bob wants them: references, and probes with the references of each.

Bob decides by equal ``subject_id`` whether a score is genuine, embeds every reference and every
probe, and compares a probe once with each of its references. So:

- persons are found from the genuine pairs (connected images are one person), whatever the file
  form; where a pair contradicts them (an impostor pair of two images of one person: label noise,
  or the same picture under two names), the right image is taken once more, as a stranger;
- pairs are oriented so that nearly every image is a reference or a probe, not both, and is
  embedded once: the comparison is symmetric.
"""

from dataclasses import dataclass

import numpy
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, dijkstra

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
    genuine = pairs.genuine
    persons = _smallest_connected(len(images), pairs.left[genuine], pairs.right[genuine])
    subjects = [identifiers[person] for person in persons]
    right = pairs.right.copy()
    strangers: dict[int, int] = {}
    contradictory = ~genuine & (persons[pairs.left] == persons[pairs.right])
    for k in numpy.flatnonzero(contradictory):
        image = int(right[k])
        if image not in strangers:
            strangers[image] = len(images)
            images.append(image)
            identifiers.append(f"{pairs.images[image]}~stranger")
            subjects.append(identifiers[-1])
        right[k] = strangers[image]
    references = _orient(len(images), pairs.left, right)
    return Templates(identifiers, images, subjects, pairs.left, right, references)


def _neighbours(count: int, left: numpy.ndarray, right: numpy.ndarray) -> coo_array:
    """Make the graph of all pairs, each once, both ways."""
    both = numpy.unique([[*left, *right], [*right, *left]], axis=1).astype(numpy.int32)
    return coo_array((numpy.ones(both.shape[1]), (both[0], both[1])), (count, count))


def _smallest_connected(count: int, left: numpy.ndarray, right: numpy.ndarray) -> numpy.ndarray:
    """Give for each node the smallest one that pairs connect it with."""
    _, component = connected_components(_neighbours(count, left, right))
    return numpy.unique(component, return_index=True)[1][component]


def _orient(count: int, left: numpy.ndarray, right: numpy.ndarray) -> dict[int, list[int]]:
    """Choose reference and probe of each pair so that few templates are both."""
    graph = _neighbours(count, left, right)
    starts = numpy.unique(_smallest_connected(count, left, right))
    # neighbours are one step nearer or farther, but for odd cycles
    steps = dijkstra(graph, unweighted=True, indices=starts, min_only=True)
    probe = steps % 2 == 1
    # pairs within one side: the template with most of them goes to the other side as well
    within = numpy.bincount(graph.row[probe[graph.row] == probe[graph.col]], minlength=count)
    references: dict[int, dict[int, None]] = {}
    for one, other in zip(left.tolist(), right.tolist(), strict=True):
        if probe[one] != probe[other]:
            reference = other if probe[one] else one
        else:
            both = max(one, other, key=lambda template: (within[template], -template))
            reference = both if probe[one] else (other if both == one else one)
        references.setdefault(other if reference == one else one, {})[reference] = None
    return {template: list(others) for template, others in references.items()}
