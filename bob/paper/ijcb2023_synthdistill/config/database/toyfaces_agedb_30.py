"""The miniature of AgeDB-30 in ToyFaces: drawn when it is first needed."""

from ...benchmarks.database import PairDatabase

database = PairDatabase("toyfaces-agedb-30")
