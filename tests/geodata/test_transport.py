import json

import pytest
import urllib3

from geodata.services.transport import MAX_REDIRECTS, Transport
from tests.services.server import LoopbackServer, Reply

SECRET = {"Authorization": "OAuth abc"}


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def target():
    with LoopbackServer(lambda request: Reply(200, b"here")) as server:
        yield server


def leading_to(url, status=302):
    return LoopbackServer(lambda request: Reply(status, b"", {"Location": url}))


def open_once(url, body=None, headers=None):
    transport = Transport("sameplace", connect_s=1.0, read_s=1.0)
    try:
        with transport.open(url, body, headers or {}) as answer:
            return answer.read()
    finally:
        transport.close()


def test_a_secret_is_not_carried_to_another_host(target):
    with leading_to(f"{target.root}/x") as first:
        assert open_once(f"{first.root}/a", headers=SECRET) == b"here"
    assert first.requests[0].headers["authorization"] == "OAuth abc"
    assert "authorization" not in target.requests[0].headers


def test_a_secret_stays_with_its_host():
    with LoopbackServer(
        lambda request: Reply(200, b"b") if request.path == "/b" else Reply(307, b"", {"Location": "/b"})
    ) as server:
        assert open_once(f"{server.root}/a", headers=SECRET) == b"b"
    assert [request.headers["authorization"] for request in server.requests] == ["OAuth abc"] * 2


@pytest.mark.parametrize(("status", "method"), [(302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")])
def test_a_redirect_repeats_the_body_where_it_says_so(target, status, method):
    with leading_to(f"{target.root}/x", status) as first:
        open_once(first.root, body={"a": 1})
    assert first.requests[0].method == "POST"
    assert first.requests[0].headers["content-type"] == "application/json"
    assert target.requests[0].method == method
    assert target.requests[0].body == (json.dumps({"a": 1}).encode() if method == "POST" else b"")


def test_a_circle_of_redirects_ends():
    with leading_to("/again") as server, pytest.raises(urllib3.exceptions.HTTPError, match="redirects"):
        open_once(server.root)
    assert len(server.requests) == MAX_REDIRECTS


def test_a_redirect_to_a_file_is_refused():
    with leading_to("file:///etc/hostname") as server, pytest.raises(urllib3.exceptions.HTTPError):
        open_once(server.root)


def test_the_proxy_of_the_environment_is_asked_but_for_excepted_hosts(target, monkeypatch):
    with LoopbackServer(lambda request: Reply(200, b"by proxy")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.root.removeprefix("http://"))
        assert open_once("http://nowhere.example/x") == b"by proxy"
        assert proxy.requests[0].headers["host"] == "nowhere.example"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert open_once(target.root) == b"here"
    assert len(proxy.requests) == 1


def test_passwords_of_the_machine_are_not_sent(target, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    open_once(target.root)
    assert "authorization" not in target.requests[0].headers


def test_no_cookie_is_kept():
    with LoopbackServer(lambda request: Reply(200, b"", {"Set-Cookie": "a=1"})) as server:
        transport = Transport("sameplace", connect_s=1.0, read_s=1.0)
        for _ in range(2):
            transport.open(server.root, None, {}).read()
        transport.close()
    assert all("cookie" not in request.headers for request in server.requests)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_are_those_of_the_environment(name, tmp_path, monkeypatch):
    for other in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, str(tmp_path / "bundle.pem"))
    transport = Transport("sameplace", connect_s=1.0, read_s=1.0)
    assert transport.adapter.poolmanager.connection_pool_kw["ca_certs"] == str(tmp_path / "bundle.pem")
    assert transport.adapter.poolmanager.connection_pool_kw["cert_reqs"] == "CERT_REQUIRED"
