"""References, probes and persons of any list of pairs."""

from hypothesis import given, settings
from hypothesis import strategies as st

from bob.paper.ijcb2023_synthdistill.benchmarks.pair_lists import ListedPair, Pairs
from bob.paper.ijcb2023_synthdistill.benchmarks.templates import arrange

names = st.integers(0, 9).map(str)
lists = st.lists(
    st.builds(ListedPair, names, names, st.booleans(), st.integers(0, 9)), min_size=1, max_size=40
)


@settings(max_examples=300, deadline=None)
@given(lists)
def test_every_pair_is_scored_with_its_label(listed):
    pairs = Pairs.of(listed)
    arranged = arrange(pairs)
    assert len(set(arranged.identifiers)) == len(arranged.identifiers)
    scored = {
        frozenset((probe, reference))
        for probe, references in arranged.references.items()
        for reference in references
    }
    # each unordered pair of templates once, and none that is not listed
    assert sum(map(len, arranged.references.values())) == len(scored)
    wanted = {
        frozenset(pair)
        for pair in zip(arranged.left.tolist(), arranged.right.tolist(), strict=True)
    }
    assert scored == wanted
    for pair, left, right in zip(listed, arranged.left, arranged.right, strict=True):
        assert pairs.images[arranged.images[left]] == pair.left
        assert pairs.images[arranged.images[right]] == pair.right
        # what Bob takes for genuine is what the list says
        assert (arranged.subjects[left] == arranged.subjects[right]) is pair.genuine


def sides(listed):
    arranged = arrange(Pairs.of(listed))
    references = {other for others in arranged.references.values() for other in others}
    return references & set(arranged.references), references | set(arranged.references)


def test_bipartite_pairs_embed_each_image_once():
    # a chain in which each image is a left and a right image, and an even cycle
    chain = [ListedPair(str(i), str(i + 1), False, 0) for i in range(9)]
    cycle = [ListedPair(f"c{i}", f"c{(i + 1) % 4}", False, 0) for i in range(4)]
    both, all_of_them = sides(chain + cycle)
    assert not both
    assert len(all_of_them) == 14


def test_an_odd_cycle_needs_one_image_on_both_sides():
    both, _ = sides([ListedPair(str(i), str((i + 1) % 5), False, 0) for i in range(5)])
    assert len(both) == 1
