import pytest
from answers import PATIENT

from pgbench.verify import sandbox
from pgbench.verify.code import CodeVerifier, Limits
from pgbench.verify.math import MathVerifier


@pytest.fixture(scope="module")
def strict():
    with MathVerifier(deadline=PATIENT) as verifier:
        yield verifier


@pytest.fixture(scope="module")
def lenient():
    with MathVerifier(deadline=PATIENT, mode="lenient") as verifier:
        yield verifier


@pytest.fixture(scope="session")
def sandboxed():
    """Skips where no sandbox works."""
    reasons = {name: sandbox.reason_against(name) for name in ("bubblewrap", "namespaces")}
    if all(reasons.values()):
        pytest.skip(f"no sandbox here: {reasons}")


@pytest.fixture(scope="module")
def verifier(sandboxed):
    with CodeVerifier(1, Limits(seconds=3)) as made:
        yield made
