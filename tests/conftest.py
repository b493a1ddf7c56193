import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines.files.storage import is_installed
from tests.runs import SHARED, run_build
from tests.services.objects import ObjectStore, google_storage, s3_storage

if TYPE_CHECKING:
    from tests.browser import Browser


@pytest.fixture(scope="session")
def europe_mini() -> Path:
    folder = SHARED / "europe_mini"
    if not folder.is_dir():
        pytest.skip("../shared/data/europe_mini is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def real_corpus(europe_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """europe_mini as a corpus, built once for all workers of the tests; nobody changes it."""
    is_alone = "PYTEST_XDIST_WORKER" not in os.environ
    base = tmp_path_factory.getbasetemp() if is_alone else tmp_path_factory.getbasetemp().parent
    output = base / "real" / "europe_mini"
    with (base / "real.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (output / "manifest.json").exists():
            run_build("--region", "world", "--sources", f"folder:{europe_mini}", "--output", output)
    return output


@pytest.fixture(scope="session")
def gs_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A bucket at gs://."""
    if not all(map(is_installed, ("gcp_storage_emulator", "google.cloud.storage"))):
        pytest.skip("gs:// needs pip install 'sameplace[gcp]' gcp-storage-emulator")
    with google_storage(tmp_path_factory.mktemp("google")) as store:
        yield store


@pytest.fixture(scope="session")
def s3_store() -> Iterator[ObjectStore]:
    """A bucket at s3://."""
    if not all(map(is_installed, ("moto", "boto3"))):
        pytest.skip("s3:// needs pip install 'sameplace[aws]' moto[server]")
    with s3_storage() as store:
        yield store


@pytest.fixture
def enter_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ObjectStore]:
    """Leads this process, and those it starts, to the bucket at gs or s3."""

    def enter(kind: str) -> ObjectStore:
        store: ObjectStore = request.getfixturevalue(f"{kind}_store")
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        return store

    return enter


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Browser"]:
    """A browser, for tests with the marks of `tests.browser`."""
    from tests.browser import open_browser  # selenium is there for those tests only

    with open_browser(str(tmp_path_factory.mktemp("profile"))) as browser:
        yield browser


@pytest.fixture(autouse=True)
def _root_logger_stays():
    """A runnable that is called in this process sets the level of the root logger."""
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)
