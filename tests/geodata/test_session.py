import gzip
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from geodata.services.budget import TokenBucket
from geodata.services.redact import redact
from geodata.services.service import SERVICES, EndpointError, parse_endpoints
from geodata.services.session import (
    GIVE_UP_AFTER,
    HttpSettings,
    ServiceError,
    Session,
    Transient,
    parse_retry_after,
)
from tests.services.server import Fault, LoopbackServer, Reply

SECRET = "MLY|1234567890|0123456789abcdef"


@pytest.fixture
def server():
    with LoopbackServer(
        lambda request: Reply(200, b'{"answer": 42}', {"Content-Type": "application/json"}), stall_s=0.6
    ) as server:
        yield server


def make_session(server, **more):
    waits = []
    settings = HttpSettings(
        **{"endpoints": {"stac": server.root}, "backoff_s": 0.001, "read_s": 0.3, "patience_s": 0, **more}
    )
    session = Session(settings, sleep=waits.append)
    return session, waits


def ask(session, **more):
    return session.request("stac", f"{session.root('stac')}/x", parse=lambda answer: answer.json()["answer"], **more)


FAULTS = {
    "429 without Retry-After": Fault("status", 2, status=429),
    "429 with Retry-After": Fault("status", 2, status=429, headers={"Retry-After": "3"}),
    "500": Fault("status", 3, status=500), "502": Fault("status", 3, status=502),
    "503": Fault("status", 3, status=503), "504 in plain text": Fault("status", 3, status=504, body=b"exceeded"),
    "reset": Fault("reset", 2), "time-out": Fault("timeout", 1), "truncated": Fault("truncated", 2),
    "wrong length": Fault("wrong_length", 2), "HTML": Fault("html", 2), "drops": Fault("drip", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_transient_is_asked_again_until_it_succeeds(server, name):
    fault = Fault(**vars(FAULTS[name]))
    session, _ = make_session(server)
    times = fault.times
    server.faults.append(fault)
    assert ask(session) == 42
    assert len(server.requests) == session.sent["stac"] == times + 1


def test_an_endless_fault_ends_with_one_sentence_that_names_the_service_and_the_last_fault(server):
    server.faults.append(Fault("status", 99, status=503, body=b"<h1>busy</h1>"))
    session, waits = make_session(server)
    with pytest.raises(ServiceError, match=r"stac: .*failed 5 times, last with: HTTP 503") as caught:
        ask(session)
    assert caught.value.retryable
    assert len(server.requests) == 5
    pauses = [wait for wait in waits if wait > 0]
    assert all(pause <= 0.001 * 2**number for number, pause in enumerate(pauses))


def test_a_refusal_is_not_repeated(server):
    server.faults.append(Fault("status", 99, status=403, body=b"no"))
    session, _ = make_session(server)
    with pytest.raises(ServiceError) as caught:
        ask(session)
    assert (caught.value.status, caught.value.retryable, len(server.requests)) == (403, False, 1)


def test_retry_after_is_honoured_as_seconds_and_as_a_date(server):
    server.faults += [Fault("status", 1, status=503, headers={"Retry-After": "7"})]
    session, waits = make_session(server)
    ask(session)
    assert 7 <= max(waits) < 7.1
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 27 <= parse_retry_after(then) <= 31
    assert parse_retry_after("soon") is None
    assert parse_retry_after(None) is None


def test_a_service_that_wants_an_hour_is_not_waited_for(server):
    server.faults.append(Fault("status", 1, status=429, headers={"Retry-After": "3600"}))
    session, waits = make_session(server)
    with pytest.raises(ServiceError, match="failed 1 time"):
        ask(session)
    assert max(waits, default=0) < 1


def test_a_service_that_is_down_is_waited_for_and_then_left_alone(server, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("geodata.services.session.time.monotonic", lambda: now[0])
    server.faults.append(Fault("status", 7, status=500))
    session, _ = make_session(server, attempts=2, patience_s=60.0)
    session._sleep = lambda seconds: now.__setitem__(0, now[0] + max(seconds, 2.0))
    assert ask(session) == 42  # longer than two attempts, but not than its patience
    server.faults.append(Fault("status", 10_000, status=500))
    for _ in range(GIVE_UP_AFTER):
        with pytest.raises(ServiceError, match="failed"):
            ask(session)
    sent = len(server.requests)
    with pytest.raises(ServiceError, match="is down") as caught:
        ask(session)
    assert len(server.requests) == sent
    assert caught.value.retryable
    server.faults.clear()
    now[0] += 31
    assert ask(session) == 42  # one request in a while sees that it is back


def test_a_fault_of_one_address_is_not_waited_for(server):
    session, _ = make_session(server, attempts=2, patience_s=1e9)
    session._sleep = lambda _: session._answered.__setitem__("stac", 1e12)  # others get answers all the while
    server.faults.append(Fault("status", 10_000, status=500))
    with pytest.raises(ServiceError, match="failed 2 times"):
        ask(session)


def test_threads_share_connections_and_nothing_grows(server):
    from concurrent.futures import ThreadPoolExecutor

    session, _ = make_session(server)
    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda _: ask(session), range(16))) == [42] * 16
    pools = session._transport.adapter.poolmanager.pools
    assert len(pools) == 1


def test_a_token_in_a_link_to_the_next_page_is_not_kept(tmp_path):
    body = b'{"answer": 42, "paging": {"next": "https://x/y?after=1&access_token=MLY|1|2"}}'
    with LoopbackServer(lambda request: Reply(200, body, {"Content-Type": "application/json"})) as server:
        session, _ = make_session(server, cache=str(tmp_path))
        assert ask(session) == 42
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"after=1" in kept
    assert b"MLY" not in kept


def test_a_second_run_asks_nothing_again(server, tmp_path):
    first, _ = make_session(server, cache=str(tmp_path))
    second, _ = make_session(server, cache=str(tmp_path))
    assert ask(first, params={"a": 1}) == ask(second, params={"a": 1}) == 42
    assert len(server.requests) == 1
    assert ask(second, params={"a": 2}) == 42
    assert ask(second, body={"a": 1}) == 42
    assert len(server.requests) == 3


def test_failures_and_secrets_are_not_cached(server, tmp_path):
    server.faults.append(Fault("html", 1))
    session, _ = make_session(server, cache=str(tmp_path))
    ask(session, headers={"Authorization": f"OAuth {SECRET}"})
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) == 1
    assert b"<html>" not in kept[0]
    assert SECRET.encode() not in kept[0]
    ask(session, cache_key=None, params={"token": "one"})
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_a_damaged_cache_entry_is_asked_for_again(server, tmp_path):
    session, _ = make_session(server, cache=str(tmp_path))
    ask(session)
    entry = next(path for path in tmp_path.rglob("*") if path.is_file())
    entry.write_bytes(entry.read_bytes()[:-3])
    assert ask(session) == 42
    assert len(server.requests) == 2


def test_the_user_agent_names_the_tool_and_the_operator(server):
    session, _ = make_session(server, contact="me@example.org")
    ask(session)
    agent = server.requests[0].headers["user-agent"]
    assert agent.startswith("sameplace/")
    assert "me@example.org" in agent


def test_requests_and_bytes_are_counted_as_they_travel():
    packed = gzip.compress(b'{"answer": 42}' + b" " * 5000)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    with LoopbackServer(lambda request: Reply(200, packed, headers)) as server:
        session, _ = make_session(server)
        assert [ask(session) for _ in range(3)] == [42, 42, 42]
        assert session.sent["stac"] == 3
        assert session.received["stac"] == 3 * len(packed) == server.sent_bytes
        assert session.waited_s["stac"] > 0


def test_a_classifier_sees_every_answer_first(server):
    server.faults.append(Fault("status", 1, status=500, body=b'{"error": {"code": 190}}'))
    session, _ = make_session(server)

    def classify(answer):
        if b"190" in answer.body:
            raise ServiceError("stac", "bad token")

    with pytest.raises(ServiceError, match="bad token"):
        ask(session, classify=classify)
    assert len(server.requests) == 1


def test_a_parser_can_ask_for_another_attempt(server):
    session, _ = make_session(server)
    answers = iter([False, True])

    def parse(answer):
        if not next(answers):
            raise Transient("half of it")
        return "whole"

    assert session.request("stac", server.root, parse=parse) == "whole"
    assert len(server.requests) == 2


def test_nobody_there_is_one_sentence():
    session = Session(
        HttpSettings(endpoints={"stac": "http://127.0.0.1:9"}, attempts=1, patience_s=0), sleep=lambda _: None
    )
    with pytest.raises(ServiceError, match=r"127.0.0.1:9 failed 1 time, last with: NewConnectionError .*refused"):
        ask(session)


@pytest.mark.parametrize(
    "text",
    [
        "https://a.blob.core.windows.net/b?st=1&se=2&sp=rl&sig=abc%2Fdef", "Authorization: OAuth MLY|1|2",
        "https://x/y?access_token=MLY|123|456", "token MLY|123|456 refused", "Bearer xyz",
    ],
)  # fmt: skip
def test_secrets_are_blotted_out(text):
    assert not any(secret in redact(text) for secret in ("abc", "def", "|1|2", "123", "456", "xyz"))


def test_a_bucket_gives_a_burst_and_then_a_steady_rate():
    now = [0.0]
    bucket = TokenBucket(2.0, 3, clock=lambda: now[0])
    assert [bucket.reserve() for _ in range(5)] == [0, 0, 0, 0.5, 1.0]
    now[0] = 10.0
    assert [bucket.reserve() for _ in range(4)] == [0, 0, 0, 0.5]


def test_workers_share_one_budget(server):
    waits = []
    settings = HttpSettings(endpoints={"stac": server.root}, workers=4)
    session = Session(settings, sleep=waits.append)
    for _ in range(4):
        ask(session)
    rate = SERVICES["stac"].rate_per_s / 4
    assert sum(waits) > (4 - SERVICES["stac"].burst / 4 - 0.5) / rate


def test_endpoints_are_read_or_refused_with_a_sentence():
    assert parse_endpoints(("stac=http://x/", "wikipedia=https://y")) == {"stac": "http://x", "wikipedia": "https://y"}
    with pytest.raises(EndpointError, match="names no service: choose from stac, sas"):
        parse_endpoints(("bing=http://x",))
    with pytest.raises(EndpointError, match="holds a user's name or password") as caught:
        parse_endpoints(("stac=https://me:secret@x",))
    assert "secret" not in str(caught.value)
    with pytest.raises(EndpointError, match="has no address"):
        parse_endpoints(("stac=x",))
