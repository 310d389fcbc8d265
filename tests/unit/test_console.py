"""The console's pages as a browser gets them."""

import gzip
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Mount

from service.adapters.clock import SystemClock
from service.adapters.memory_tickets import MemoryTickets
from service.adapters.tokens.authenticator import TokenAuthenticator
from service.adapters.tokens.claims import Expected
from service.domain.limits import Allowed, Limits
from service.web import app as application
from service.web import console, console_session, problems
from service.web.door import Door

SCRIPT = b"export const words = 'over and over and over and over';" * 9


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """As the build leaves them."""
    folder = tmp_path / "console_files"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Lastseen</title>")
    (folder / "assets/index-4f2a.js").write_bytes(SCRIPT)
    (folder / "assets/index-4f2a.js.gz").write_bytes(gzip.compress(SCRIPT))
    (folder / ".built-from").write_text("what")
    return folder


def client(pages: Path) -> httpx.AsyncClient:
    """Of a service that has one call of its own."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    problems.install(app)

    @app.post("/api/v1/things")
    async def things() -> dict[str, str]:
        return {}

    console.install(app, pages)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")


OPENED = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_every_page_is_strict_about_what_it_may_load(pages: Path) -> None:
    async with client(pages) as http:
        for path in ("/", "/assets/index-4f2a.js", "/tasks/x"):
            answer = await http.get(path, headers=OPENED)
            assert answer.status_code == 200
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["cross-origin-opener-policy"] == "same-origin"


async def test_what_has_its_digest_in_its_name_is_kept_and_the_rest_is_not(pages: Path) -> None:
    async with client(pages) as http:
        assert (await http.get("/")).headers["cache-control"] == "no-store"
        script = await http.get("/assets/index-4f2a.js")
        assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"


async def test_an_address_that_is_opened_is_a_place_in_the_console(pages: Path) -> None:
    async with client(pages) as http:
        for path in ("/tasks/x", "/projects/shop/members", "/apis"):
            assert "<title>Lastseen" in (await http.get(path, headers=OPENED)).text
            assert (await http.get(path)).status_code == 404, "a program that asks is told that there is nothing"


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api", "/ws/x", "/metrics/x", "/assets/gone.js", "/healthz/x"])
async def test_what_is_the_services_own_stays_so(pages: Path, path: str) -> None:
    async with client(pages) as http:
        answer = await http.get(path, headers=OPENED)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_methods(pages: Path) -> None:
    async with client(pages) as http:
        assert (await http.get("/api/v1/things", headers=OPENED)).status_code == 405
        assert (await http.post("/tasks/x", headers=OPENED)).status_code == 404
        assert (await http.head("/", headers=OPENED)).headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("accepted", "coded"),
    [("gzip, br", True), ("br, GZIP;q=0.5", True), ("*", True), ("gzip;q=0", False), ("br", False), ("", False)],
)
async def test_compressed_for_whoever_takes_it(pages: Path, accepted: str, coded: bool) -> None:
    async with client(pages) as http:
        answer = await http.get("/assets/index-4f2a.js", headers={"Accept-Encoding": accepted})
        assert ("content-encoding" in answer.headers) is coded
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.content == SCRIPT
        tag = answer.headers["etag"]
        again = await http.get("/assets/index-4f2a.js", headers={"Accept-Encoding": accepted, "If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        other = {"Accept-Encoding": "" if coded else "gzip", "If-None-Match": tag}
        assert (await http.get("/assets/index-4f2a.js", headers=other)).status_code == 200, "each form has its own tag"


async def test_nothing_but_pages_can_be_had(pages: Path) -> None:
    (pages.parent / "secret.txt").write_text("secret")
    async with client(pages) as http:
        for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/assets/%2e%2e/%2e%2e/secret.txt", "/.built-from"):
            assert (await http.get(path)).status_code == 404
        assert (await http.get("/assets/index-4f2a.js.gz")).status_code == 404


async def test_a_service_without_console_says_so(tmp_path: Path) -> None:
    async with client(tmp_path / "none") as http:
        answer = await http.get("/", headers=OPENED)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8")
        assert "left out when it was built" in answer.text
        assert (await http.get("/tasks/x", headers=OPENED)).status_code == 404


def test_no_route_of_the_service_is_a_place_in_the_console() -> None:
    routers = [module.router for name, module in vars(application).items() if hasattr(module, "router")]
    paths = [route.path for router in routers for route in router.routes if not isinstance(route, Mount)]
    assert len(paths) > 20
    assert [path for path in paths if console._is_place(path.lstrip("/"))] == []


async def test_where_tokens_are_signed_elsewhere_no_code_signs_in() -> None:
    app = FastAPI()
    problems.install(app)
    app.include_router(console_session.router)
    authenticator = TokenAuthenticator("s" * 32, None, Expected())
    app.state.door = Door(authenticator, MemoryTickets(SystemClock(), seconds=30, most=3), Limits(Allowed()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
        answer = await http.post("/api/v1/console/session", json={"code": "x"})
        assert (answer.status_code, answer.json()["code"]) == (403, "no_sign_in")
        assert "its issuer" in answer.json()["detail"]
