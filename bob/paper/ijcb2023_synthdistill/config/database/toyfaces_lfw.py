"""The miniature of LFW in ToyFaces: drawn when it is first needed."""

from ...benchmarks.database import PairDatabase

database = PairDatabase("toyfaces-lfw")
