"""LFW, where `bob config set bob.bio.face.lfw.directory FOLDER` says."""

from ...benchmarks.database import PairDatabase

database = PairDatabase("lfw")
