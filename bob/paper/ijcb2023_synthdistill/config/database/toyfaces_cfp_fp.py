"""The miniature of CFP-FP in ToyFaces: drawn when it is first needed."""

from ...benchmarks.database import PairDatabase

database = PairDatabase("toyfaces-cfp-fp")
