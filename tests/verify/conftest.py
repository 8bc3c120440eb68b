import pytest
from answers import PATIENT

from pgbench.verify.math import MathVerifier


@pytest.fixture(scope="module")
def strict():
    with MathVerifier(deadline=PATIENT) as verifier:
        yield verifier


@pytest.fixture(scope="module")
def lenient():
    with MathVerifier(deadline=PATIENT, mode="lenient") as verifier:
        yield verifier
