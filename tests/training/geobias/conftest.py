import numpy as np
import pytest

from tests.runs import SHARED


@pytest.fixture(scope="session")
def stages():
    path = SHARED / "golden" / "geobias_stages.npz"
    if not path.is_file():
        pytest.skip("../shared/data/golden is not beside this checkout")
    with np.load(path) as stored:
        return {name: stored[name] for name in stored}
