from pathlib import Path

import pytest

from tests.runs import SHARED, run_build


@pytest.fixture(scope="session")
def europe_mini() -> Path:
    folder = SHARED / "europe_mini"
    if not folder.is_dir():
        pytest.skip("../shared/data/europe_mini is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def real_corpus(europe_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """europe_mini as a corpus."""
    output = tmp_path_factory.mktemp("real") / "europe_mini"
    run_build("--region", "world", "--sources", f"folder:{europe_mini}", "--output", output)
    return output
