"""Who may talk to the page."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from medlora.ui.guard import LARGEST_BODY, content_policy, guard_middleware, host_name

HERE = "http://127.0.0.1:7860"


async def answer(request: Request) -> Response:
    return PlainTextResponse("hello")


@pytest.fixture
def client() -> TestClient:
    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"])], middleware=guard_middleware())
    return TestClient(app, base_url=HERE)


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860"])
def test_this_computer_by_any_of_its_names_is_served(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).text == "hello"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "", "[", "0.0.0.0:7860"]
)
def test_a_foreign_or_malformed_host_is_refused(client: TestClient, host: str) -> None:
    reply = client.get("/", headers={"host": host})
    assert (reply.status_code, reply.text) == (400, "This address is not served here.")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:7860", ""]
)
def test_another_origin_cannot_post_or_read(client: TestClient, origin: str) -> None:
    for method in ("POST", "GET"):
        reply = client.request(method, "/", headers={"origin": origin})
        assert (reply.status_code, reply.text) == (403, "Requests from other sites are refused.")


def test_the_page_itself_may_post(client: TestClient) -> None:
    assert client.post("/", headers={"origin": HERE, "sec-fetch-site": "same-origin"}).status_code == 200


def test_a_cross_site_post_without_an_origin_is_refused(client: TestClient) -> None:
    assert client.post("/", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.post("/", headers={"sec-fetch-site": "same-site"}).status_code == 403


def test_a_body_larger_than_any_upload_is_refused_unread(client: TestClient) -> None:
    reply = client.post("/", headers={"content-length": str(LARGEST_BODY + 1)})
    assert (reply.status_code, reply.text) == (413, "This file is too large: 200 MB at most.")
    assert client.post("/", headers={"content-length": str(LARGEST_BODY)}).status_code == 200


def test_a_body_of_unknown_length_is_refused_unread(client: TestClient) -> None:
    reply = client.post("/", content=iter([b"a", b"b"]))
    assert (reply.status_code, reply.text) == (411, "A request must say how long it is.")


def test_a_link_from_elsewhere_may_open_the_page(client: TestClient) -> None:
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200


def test_every_answer_carries_the_protecting_headers(client: TestClient) -> None:
    headers = client.get("/").headers
    assert headers["content-security-policy"] == content_policy()
    assert "img-src 'self' data: blob:" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_who_may_frame_the_page_is_a_setting() -> None:
    app = Starlette(
        routes=[Route("/", answer)], middleware=guard_middleware(frame_ancestors="https://hospital.example")
    )
    policy = TestClient(app, base_url=HERE).get("/").headers["content-security-policy"]
    assert policy.endswith("frame-ancestors https://hospital.example")


def test_web_sockets_are_closed(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect) as refusal, client.websocket_connect("/"):
        raise AssertionError("the socket came through")
    assert refusal.value.code == 1008


def test_a_host_name_is_read_without_its_port() -> None:
    assert [host_name(value) for value in ("A.b:80", "[::1]:7860", "x", "")] == ["a.b", "::1", "x", ""]
