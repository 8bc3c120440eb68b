import pytest
from tiny_lm import write_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of a model of 20,000 parameters."""
    return write_tiny(tmp_path_factory.mktemp("tiny"))
