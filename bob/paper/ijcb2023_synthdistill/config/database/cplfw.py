"""CPLFW, where `bob config set bob.bio.face.cplfw.directory FOLDER` says."""

from ...benchmarks.database import PairDatabase

database = PairDatabase("cplfw")
