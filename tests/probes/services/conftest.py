"""An authority that nobody but these tests trusts."""

import pytest
import trustme


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def pem(authority) -> str:
    return authority.cert_pem.bytes().decode()
