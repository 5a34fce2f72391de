"""The miniature of CPLFW in ToyFaces: drawn when it is first needed."""

from ...benchmarks.database import PairDatabase

database = PairDatabase("toyfaces-cplfw")
