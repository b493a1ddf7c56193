import base64
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from geodata.services.secret import read_secret
from geodata.sources.live import TOKEN, adopt_token
from geodata.sources.source import SourceError
from pipelines.engine import dataflow
from pipelines.engine.dataflow import check_dataflow, check_reach, dataflow_flags
from pipelines.engine.run import check_runner, prepare
from pipelines.files import storage
from pipelines.plan.options import OptionError, Options
from pipelines.plan.plan import SourceSpec
from tests.rehearsal import TOKEN as SENT_TOKEN
from tests.rehearsal import rehearse
from tests.runs import ROOT
from tests.services.server import LoopbackServer, Reply

SECRET = "projects/p/secrets/mapillary/versions/latest"
GIVEN = ["--project", "p", "--temp_location", "gs://b/tmp"]


def options(**more):
    return Options(**{"region": "LU", "output": "gs://b/lux", "runner": "DataflowRunner"} | more)


def test_all_that_dataflow_lacks_is_told_in_one_sentence(monkeypatch):
    monkeypatch.setattr(storage, "is_installed", lambda module: False)
    with pytest.raises(OptionError) as error:
        check_dataflow(options(output="shards/lux"), [])
    told = str(error.value)
    for need in ("--project", "--region_gcp", "--temp_location gs://", "--output gs://", "'sameplace[gcp]'"):
        assert need in told
    assert told.count("needs") == 1 and "checkout" not in told


def test_what_has_all_is_not_refused(monkeypatch):
    monkeypatch.setattr(storage, "is_installed", lambda module: True)
    check_dataflow(options(region_gcp="europe-west1"), GIVEN)
    check_dataflow(options(runner="FnApiRunner", output="shards/lux"), [])


def test_outside_a_checkout_an_image_is_needed(monkeypatch):
    monkeypatch.setattr(storage, "is_installed", lambda module: True)
    monkeypatch.setattr(dataflow, "PROJECT_FILE", Path("/nowhere/pyproject.toml"))
    with pytest.raises(OptionError, match="a checkout of sameplace or --sdk_container_image"):
        check_dataflow(options(region_gcp="europe-west1"), GIVEN)
    check_dataflow(options(region_gcp="europe-west1"), [*GIVEN, "--sdk_container_image=x/y"])


def test_a_machine_is_one_worker_because_workers_share_the_rates():
    flags = dataflow_flags(options(region_gcp="europe-west1", workers=5), GIVEN)
    assert {"--region=europe-west1", "--max_num_workers=5", "--number_of_worker_harness_threads=1"} <= set(flags)
    assert "--experiments=no_use_multiple_sdk_containers" in flags


def test_what_the_user_says_to_beam_wins():
    flags = dataflow_flags(options(region_gcp="europe-west1"), [*GIVEN, "--max_num_workers=50"])
    assert not any(flag.startswith("--max_num_workers") for flag in flags)


def test_workers_install_what_this_machine_has():
    flags = dict(flag.split("=", 1) for flag in dataflow_flags(options(region_gcp="x"), GIVEN))
    assert flags["--setup_file"] == str(ROOT / "pyproject.toml")
    lines = Path(flags["--requirements_file"]).read_text().split()
    assert f"rasterio=={importlib.metadata.version('rasterio')}" in lines
    assert f"numpy=={importlib.metadata.version('numpy')}" in lines
    assert not any(line.startswith(("apache-beam", "torch", "pytest", "webdataset")) for line in lines)


def test_a_ready_image_is_used_as_it_is():
    flags = dataflow_flags(options(region_gcp="x"), [*GIVEN, "--sdk_container_image=x/y"])
    assert not any(flag.startswith(("--setup_file", "--requirements")) for flag in flags)


def test_what_is_written_for_the_workers_is_gone_with_the_process(tmp_path):
    code = "from pipelines.engine.dataflow import _write_requirements as w; print(w() == w(), w().is_file(), w())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.startswith(f"True True {tmp_path}") and not list(tmp_path.glob("sameplace-*"))


def test_a_checkout_that_was_never_installed_gets_a_sentence(monkeypatch):
    monkeypatch.setattr(storage, "is_installed", lambda module: True)
    monkeypatch.setattr(dataflow, "_is_registered", lambda: False)
    with pytest.raises(OptionError, match=r"needs also: pip install -e .* in this checkout, which is not installed"):
        check_dataflow(options(region_gcp="europe-west1"), GIVEN)
    check_dataflow(options(region_gcp="europe-west1"), [*GIVEN, "--sdk_container_image=x/y"])


def test_a_runner_that_is_none_gets_a_sentence():
    with pytest.raises(OptionError, match="--runner Nope is none that Apache Beam knows: give FnApiRunner"):
        prepare(options(runner="Nope", output="shards/x"), [])
    for name in ("DirectRunner", "flink", "my.own.Runner"):
        check_runner(name)


@pytest.mark.parametrize("runner", ["DataflowRunner", "FlinkRunner"])
def test_files_of_this_machine_are_refused_where_workers_are_elsewhere(runner, tmp_path):
    flags = ["--flink_master=cluster:8081"]
    spec = SourceSpec("folder", "mine", str(tmp_path / "mine"))
    with pytest.raises(OptionError, match=r"folder:.*mine lies on this machine.*--mounted"):
        check_reach(options(runner=runner), [spec], flags)
    check_reach(options(runner=runner, mounted=str(tmp_path)), [spec], flags)
    with pytest.raises(OptionError, match="--cache"):
        check_reach(options(runner=runner, cache="answers"), [], flags)


@pytest.mark.parametrize(
    ("runner", "flags"),
    [
        ("FnApiRunner", []),
        ("FlinkRunner", []),
        ("FlinkRunner", ["--flink_master=[local]"]),
        ("PortableRunner", ["--environment_type=LOOPBACK"]),
    ],
)
def test_workers_of_this_machine_find_its_files(runner, flags, tmp_path):
    spec = SourceSpec("folder", "mine", str(tmp_path))
    check_reach(options(runner=runner, output=str(tmp_path / "out")), [spec], flags)


def test_photos_on_dataflow_need_a_secret():
    spec = SourceSpec("live", "mapillary", "")
    with pytest.raises(OptionError, match=f"{TOKEN} stays on this machine.*--token_secret"):
        check_reach(options(), [spec], [])
    check_reach(options(token_secret=SECRET), [spec], [])
    with pytest.raises(OptionError, match="names no secret"):
        check_dataflow(options(token_secret="MLY|123"), [])


@pytest.fixture
def secrets(tmp_path, monkeypatch):
    """Secret Manager on loopback, and a made-up user who asks it."""
    pytest.importorskip("google.auth", reason="needs pip install 'sameplace[gcp]'")
    user = {"type": "authorized_user", "client_id": "n", "client_secret": "n", "refresh_token": "n", "token": "t"}
    key = tmp_path / "key.json"
    key.write_text(json.dumps(user | {"expiry": "2099-01-01T00:00:00Z"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")

    def answer(request):
        if request.path != f"/v1/{SECRET}:access" or request.headers.get("authorization") != "Bearer t":
            return Reply(403, b"{}")
        payload = {"data": base64.b64encode(b"MLY|1|secret\n").decode()}
        return Reply(200, json.dumps({"payload": payload}).encode(), {"Content-Type": "application/json"})

    with LoopbackServer(answer) as server:
        yield f"{server.root}/v1"


def test_a_worker_reads_the_token_from_the_secret(secrets, monkeypatch):
    monkeypatch.setattr("geodata.services.secret.ROOT", secrets)
    monkeypatch.setenv(TOKEN, "")
    adopt_token(SECRET)
    assert os.environ[TOKEN] == "MLY|1|secret"
    monkeypatch.setenv(TOKEN, "my own")
    adopt_token(SECRET)
    assert os.environ[TOKEN] == "my own"


def test_a_secret_that_may_not_be_read_says_what_to_do(secrets):
    with pytest.raises(SourceError, match=r"HTTP 403.*Secret Accessor"):
        read_secret("projects/p/secrets/other/versions/latest", secrets)


@pytest.mark.slow
def test_a_job_on_dataflow_gives_the_bytes_of_a_local_build(gs_store, tmp_path):
    found = rehearse(tmp_path, gs_store)
    assert found.remote == found.local and len(found.local) > 2
    assert found.jobs == 2
    assert SENT_TOKEN not in found.sent
    installed = tmp_path / "dataflow" / "job-0" / "packages"
    for package in ("schemas", "geodata", "pipelines"):
        ours = {path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py")}
        assert ours == {path.relative_to(installed) for path in (installed / package).rglob("*.py")}
    assert (installed / "schemas" / "natural_earth.parquet").is_file()
