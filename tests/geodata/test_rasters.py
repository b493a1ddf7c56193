import numpy as np
import pytest
from planetary_computer import sas as sdk

from geodata.services.session import HttpSettings, ServiceError, Session
from geodata.services.signing import Signer, resolve
from geodata.sources.rasters import Rasters
from geodata.sources.source import ReadError
from schemas.drop import Reason
from tests.folders import write_raster
from tests.runs import SHARED
from tests.services.blobs import BlobDouble, SasDouble
from tests.services.server import HTML, Fault, LoopbackServer, Reply

HREF = "https://account.blob.core.windows.net/box/{}"


@pytest.fixture
def services(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "account" / "box"
    write_raster(folder / "a.tif", rng.integers(1, 3000, (1, 900, 900)).astype(np.uint16), nodata=0)
    (folder / "b.tif").write_bytes((folder / "a.tif").read_bytes())
    (folder / "page.tif").write_bytes(HTML)
    (folder / "cut.tif").write_bytes((folder / "a.tif").read_bytes()[:200_000])
    sas = SasDouble()
    blobs = BlobDouble(tmp_path, sas)
    yield sas, blobs
    blobs.server.close()
    sas.server.close()


def make_rasters(services):
    sas, blobs = services
    endpoints = {"sas": sas.root, "blob": blobs.root}
    session = Session(HttpSettings(endpoints, patience_s=0, backoff_s=0.01, read_s=0.5, attempts=4))
    return Rasters(session, Signer(session))


def read_mean(rasters, name="a.tif"):
    return rasters.read(HREF.format(name), lambda dataset: float(dataset.read(1)[-50:].mean()))


def test_a_file_is_signed_opened_once_and_read_in_ranges(services):
    rasters = make_rasters(services)
    first = read_mean(rasters)
    assert read_mean(rasters) == first
    sas, blobs = services
    assert sas.asked() == 1
    assert sum(entry.startswith("bytes=0-") for entry in next(iter(blobs.ranges.values()))) == 1
    rasters.close()


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", 2, status=503, body=b"<Error><Code>ServerBusy</Code></Error>"), Fault("status", 2, status=500),
        Fault("status", 1, status=429), Fault("status", 2, status=502), Fault("status", 1, status=504),
        Fault("reset", 1), Fault("timeout", 1), Fault("truncated", 1), Fault("wrong_length", 1),
        Fault("status", 2, status=503, after=2), Fault("reset", 1, after=2), Fault("truncated", 1, after=2),
        Fault("timeout", 1, after=2), Fault("wrong_length", 1, after=2),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_transient_is_read_again(services, fault):
    expected = read_mean(make_rasters(services))
    services[1].server.faults.append(fault)
    services[1].server.stall_s = 1.0
    assert read_mean(make_rasters(services)) == expected


def test_an_expired_token_is_renewed_once_and_the_read_repeated(services):
    rasters = make_rasters(services)
    expected = read_mean(rasters)
    services[0].revoke()
    assert read_mean(rasters, "b.tif") == expected  # GDAL may still hold what it read of a.tif
    assert services[0].asked() == 2


def test_a_token_that_expires_while_a_raster_is_open_is_renewed(services):
    rasters = make_rasters(services)
    rasters.read(HREF.format("a.tif"), lambda dataset: dataset.width)
    services[0].revoke()
    assert read_mean(rasters) == read_mean(make_rasters(services))


def test_a_refusal_that_stays_is_a_drop_after_one_new_token(services):
    services[1].server.faults.append(Fault("status", 99, status=403))
    with pytest.raises(ReadError) as caught:
        read_mean(make_rasters(services))
    assert "403" in caught.value.detail
    assert services[0].asked() == 2


def test_short_lived_tokens_are_renewed_before_they_expire(services):
    services[0].lifetime_s = 61
    rasters = make_rasters(services)
    read_mean(rasters)
    rasters.close()
    read_mean(rasters)
    assert services[0].asked() == 2


def test_one_token_serves_all_threads_of_a_container(services):
    from concurrent.futures import ThreadPoolExecutor

    rasters = make_rasters(services)
    with ThreadPoolExecutor(8) as pool:
        means = list(pool.map(lambda _: read_mean(rasters), range(24)))
    assert len(set(means)) == 1
    assert services[0].asked() == 1


@pytest.mark.parametrize(
    ("name", "reason", "retryable"),
    [("gone.tif", Reason.MISSING_FILE, False), ("page.tif", Reason.UNREADABLE, False), ("cut.tif", None, None)],
)
def test_a_file_that_is_gone_or_no_raster_is_a_drop(services, name, reason, retryable):
    with pytest.raises(ReadError) as caught:
        read_mean(make_rasters(services), name)
    if reason is not None:
        assert (caught.value.reason, caught.value.retryable) == (reason, retryable)
    assert name in caught.value.detail


def test_no_signature_is_in_any_message(services, caplog):
    services[1].server.faults.append(Fault("status", 99, status=500, after=1))
    with caplog.at_level("DEBUG"), pytest.raises(ReadError) as caught:
        read_mean(make_rasters(services))
    signatures = [*services[0].signatures]
    assert signatures
    said = f"{caught.value} {caught.value.detail} {' '.join(r.getMessage() for r in caplog.records if r.levelno >= 30)}"
    assert not any(signature in said for signature in signatures)
    assert caught.value.retryable


def test_a_sas_service_that_is_down_is_retryable(services):
    services[0].server.faults.append(Fault("status", 99, status=503))
    with pytest.raises(ReadError) as caught:
        read_mean(make_rasters(services))
    assert (caught.value.reason, caught.value.retryable) == (Reason.SERVICE, True)


def test_signing_agrees_with_the_planetary_computers_own_library(services, monkeypatch):
    session = Session(HttpSettings({"sas": services[0].root}))
    href = HREF.format("a.tif")
    ours = Signer(session).sign(href)
    monkeypatch.setattr(sdk, "TOKEN_CACHE", {})
    monkeypatch.setenv("PC_SDK_SAS_URL", f"{services[0].root}/token")
    sdk.Settings.get.cache_clear()
    theirs = sdk.sign(href)
    sdk.Settings.get.cache_clear()
    assert ours.partition("&sig=")[0].partition("?st=")[0] == theirs.partition("&sig=")[0].partition("?st=")[0] == href
    assert [part.partition("=")[0] for part in ours.partition("?")[2].split("&")] == [
        part.partition("=")[0] for part in theirs.partition("?")[2].split("&")
    ]
    assert {request.path for request in services[0].server.requests} == {"/api/sas/v1/token/account/box"}


@pytest.mark.parametrize(
    ("href", "public", "mirrored"),
    [
        ("https://a.blob.core.windows.net/b/c.tif", "https://a.blob.core.windows.net/b/c.tif", "http://m/a/b/c.tif"),
        ("https://sentinel-cogs.s3.us-west-2.amazonaws.com/x/B04.tif", "https://sentinel-cogs.s3.us-west-2.amazonaws.com/x/B04.tif", "http://n/sentinel-cogs/x/B04.tif"),
        ("s3://copernicus-dem-30m/t.tif", "https://copernicus-dem-30m.s3.amazonaws.com/t.tif", "http://n/copernicus-dem-30m/t.tif"),
        ("https://elsewhere.org/x.tif", "https://elsewhere.org/x.tif", "https://elsewhere.org/x.tif"),
    ],
)  # fmt: skip
def test_files_are_looked_for_at_the_endpoint_in_use(href, public, mirrored):
    assert resolve(href, Session(HttpSettings())) == public
    assert resolve(href, Session(HttpSettings({"blob": "http://m", "s3": "http://n"}))) == mirrored


def test_a_broken_token_is_asked_for_again(services):
    services[0].server.faults.append(Fault("html", 1))
    session = Session(HttpSettings({"sas": services[0].root}, patience_s=0, backoff_s=0.001))
    assert "sig=" in Signer(session).sign(HREF.format("a.tif"))
    services[0].server.faults.append(Fault("status", 1, status=404))
    with pytest.raises(ServiceError, match="404"):
        Signer(session).sign("https://other.blob.core.windows.net/box/a.tif")


def test_the_recorded_token_is_read(monkeypatch):
    path = SHARED / "recordings" / "planetary-computer-sas" / "sas-token-account-container.json"
    if not path.is_file():
        pytest.skip("../shared/data is not beside this checkout")
    with LoopbackServer(lambda request: Reply(200, path.read_bytes())) as server:
        signer = Signer(Session(HttpSettings({"sas": server.root}, patience_s=0, backoff_s=0.001)))
        signed = signer.sign("https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/x.tif")
        assert server.requests[0].path == "/token/sentinel2l2a01/sentinel2-l2"
        assert signed.startswith("https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/x.tif?st=2024-05-1")
        signer.sign("https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/y.tif")
        assert len(server.requests) == 2  # the recorded one has long expired
