"""CALFW, where `bob config set bob.bio.face.calfw.directory FOLDER` says."""

from ...benchmarks.database import PairDatabase

database = PairDatabase("calfw")
