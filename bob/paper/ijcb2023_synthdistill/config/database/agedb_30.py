"""AgeDB-30, where `bob config set bob.bio.face.agedb_30.directory FOLDER` says."""

from ...benchmarks.database import PairDatabase

database = PairDatabase("agedb-30")
