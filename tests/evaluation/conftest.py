"""What the tests of the evaluation room share; nothing is made before a test asks for it."""

import pytest


@pytest.fixture(scope="session")
def student_file(tmp_path_factory):
    from pair_world import random_student

    return random_student(tmp_path_factory.mktemp("student") / "student.safetensors")


@pytest.fixture(scope="session")
def random_faces(tmp_path_factory):
    from pair_world import RandomFaces

    return RandomFaces(tmp_path_factory.mktemp("faces") / "images")


@pytest.fixture(scope="session")
def cluster_client():
    """Two worker processes, as `-l local-parallel` starts them."""
    from bob.pipelines.distributed import get_local_parallel_client

    client = get_local_parallel_client(2)
    yield client
    client.cluster.close()
    client.close()
