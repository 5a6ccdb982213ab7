"""Certificates, proxies, redirects and passwords: check.py and generate.py follow one rule, and name what is wrong."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from generating import TEMPLATE, run, use
from kto.ask import client, servers
from kto.ask.client import ModelClient
from kto.ask.servers import Server
from kto.errors import ModelUnusable, RequestFailed, UserError
from model_server import ModelServer
from proxies import Proxy

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.usefixtures("english", "nothing_set")
assert TEMPLATE

BODY = {"model": "acme/one", "messages": [{"role": "user", "content": "Hallo"}], "max_tokens": 9}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
FAR = "http://models.test/v1"


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*PROXIES, *map(str.lower, PROXIES), *BUNDLES):
        monkeypatch.delenv(name, raising=False)
    forget()
    yield
    forget()


def forget() -> None:
    """The environment is read once in a process."""
    client.certificates.cache_clear()


@pytest.fixture(scope="module")
def company() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def bundle(company: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("company") / "company's own.pem"
    company.cert_pem.write_to_path(path)
    return path


@pytest.fixture(scope="module")
def secure(company: trustme.CA) -> Iterator[ModelServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    company.issue_cert("127.0.0.1", "models.test").configure_cert(context)
    with ModelServer(("acme/one", "acme/two"), tls=context) as server:
        yield server


@pytest.fixture(scope="module")
def plain() -> Iterator[ModelServer]:
    with ModelServer(("acme/one", "acme/two")) as server:
        yield server


def lists(url: str, key: str = "") -> Any:
    """What check.py, and generate.py before its first request, learn from the server, or why they do not."""
    try:
        return bool(servers.model_list(Server(url, key)))
    except UserError as error:
        return str(error)


def chats(url: str, key: str = "") -> Any:
    """What generate.py gets, or why not."""

    async def chat() -> Any:
        client = ModelClient(Server(url, key), 4, 5)
        try:
            return bool((await client.complete(BODY)).text)
        except RequestFailed as trouble:
            return str(trouble)
        finally:
            await client.close()

    try:
        return asyncio.run(chat())
    except UserError as error:
        return str(error)


BOTH = pytest.mark.parametrize("reach", [lists, chats])
Reach = Callable[..., Any]


@BOTH
@pytest.mark.parametrize("name", BUNDLES[:3])
def test_certificates_of_a_company(
    secure: ModelServer, bundle: Path, monkeypatch: pytest.MonkeyPatch, name: str, reach: Reach
) -> None:
    monkeypatch.setenv(name, str(bundle))
    assert reach(secure.url) is True


@BOTH
def test_a_certificate_that_nobody_trusts_is_named(secure: ModelServer, reach: Reach) -> None:
    said = reach(secure.url)
    assert said.startswith(f"The certificate of {secure.url} is not trusted (") and "REQUESTS_CA_BUNDLE" in said


@BOTH
def test_a_certificate_for_another_name_is_named(
    secure: ModelServer, bundle: Path, monkeypatch: pytest.MonkeyPatch, reach: Reach
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    url = secure.url.replace("127.0.0.1", "localhost")
    assert f"The certificate of {url} is not trusted (Hostname mismatch" in reach(url)


@BOTH
@pytest.mark.parametrize("name", BUNDLES[:3])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read_are_named(
    secure: ModelServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: str | None,
    reach: Reach,
) -> None:
    path = tmp_path / "a.pem"
    if content:
        path.write_text(content)
    monkeypatch.setenv(name, str(path))
    said = reach(secure.url)
    assert said.startswith(f"The certificates in {path} cannot be read (") and name in said


@BOTH
def test_a_server_that_does_not_encrypt(reach: Reach) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"https://127.0.0.1:{server.server_port}/v1"
        assert reach(url).startswith(f"There is no encrypted connection to {url} (")
        server.shutdown()


WAYS: dict[str, tuple[str, str, dict[str, str]]] = {  # kind, login, environment; {} is the proxy's address
    "HTTP_PROXY": ("http", "", {"HTTP_PROXY": "http://{}"}),
    "lower case": ("http", "", {"http_proxy": "http://{}"}),
    "without a scheme": ("http", "", {"HTTP_PROXY": "{}"}),
    "ALL_PROXY": ("http", "", {"ALL_PROXY": "http://{}"}),
    "ALL_PROXY without a scheme": ("http", "", {"all_proxy": "{}"}),
    "others in NO_PROXY": ("http", "", {"HTTP_PROXY": "http://{}", "NO_PROXY": "elsewhere.test,10.0.0.0/8"}),
    "with a password": ("http", "ann:ge heim", {"HTTP_PROXY": "http://ann:ge%20heim@{}"}),
    "SOCKS": ("socks5", "", {"ALL_PROXY": "socks5h://{}"}),
    "SOCKS for HTTP": ("socks5", "", {"HTTP_PROXY": "socks5h://{}", "ALL_PROXY": "http://127.0.0.1:9"}),
    "SOCKS with a password": ("socks5", "ann:geheim", {"ALL_PROXY": "socks5h://ann:geheim@{}"}),
}


@BOTH
@pytest.mark.parametrize("way", WAYS)
def test_the_way_through_a_proxy(plain: ModelServer, monkeypatch: pytest.MonkeyPatch, way: str, reach: Reach) -> None:
    kind, login, variables = WAYS[way]
    with Proxy(kind, plain.url, login) as proxy:
        for name, value in variables.items():
            monkeypatch.setenv(name, value.format(proxy.address))
        assert reach(FAR) is True
        assert proxy.asked and all("models.test" in target for target in proxy.asked)


@BOTH
@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_encrypted_through_a_proxy(
    secure: ModelServer, bundle: Path, monkeypatch: pytest.MonkeyPatch, kind: str, reach: Reach
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    with Proxy(kind, secure.url) as proxy:
        scheme = "socks5h" if kind == "socks5" else "http"
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://{proxy.address}")
        assert reach("https://models.test/v1") is True and len(proxy.asked) == 1
        forget()
        monkeypatch.delenv("SSL_CERT_FILE")
        assert "The certificate of https://models.test/v1 is not trusted" in reach("https://models.test/v1")


@BOTH
@pytest.mark.parametrize("no_proxy", ["127.0.0.0/8", "10.0.0.0/8, 127.0.0.1", "*"])
def test_no_proxy(plain: ModelServer, monkeypatch: pytest.MonkeyPatch, no_proxy: str, reach: Reach) -> None:
    monkeypatch.setattr(Server, "is_loopback", False)  # as if the server were in the same building
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert reach(plain.url) is True


@BOTH
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "api.localhost", "127.8.9.1", "0.0.0.0", "[::1]"])
def test_no_proxy_leads_to_this_machine(monkeypatch: pytest.MonkeyPatch, host: str, reach: Reach) -> None:
    with Proxy("http", "http://127.0.0.1:9") as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://{proxy.address}")
        assert reach(f"http://{host}:9/v1") is not True and not proxy.asked


@BOTH
@pytest.mark.parametrize(
    ("variable", "url", "value"),
    [
        ("HTTP_PROXY", FAR, "http://ann:geheim@127.0.0.1:9"),
        ("ALL_PROXY", FAR, "socks5://ann:geheim@127.0.0.1:9"),
        ("HTTPS_PROXY", "https://models.test/v1", "http://ann:geheim@127.0.0.1:9"),
    ],
)
def test_a_proxy_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str, value: str, reach: Reach
) -> None:
    monkeypatch.setenv(variable, value)
    said = reach(url)
    assert f"127.0.0.1:9 gives no connection to {url} (" in said and "geheim" not in said


@BOTH
@pytest.mark.parametrize(
    ("variable", "scheme", "url"), [("HTTP_PROXY", "http", FAR), ("HTTPS_PROXY", "http", "https://models.test/v1")]
)
def test_a_proxy_that_wants_a_password_is_named(
    plain: ModelServer, monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str, url: str, reach: Reach
) -> None:
    with Proxy("http", plain.url, "ann:geheim") as proxy:
        monkeypatch.setenv(variable, f"{scheme}://ann:falsch@{proxy.address}")
        said = reach(url)
    assert f"gives no connection to {url} (407" in said and "falsch" not in said


def test_a_socks_proxy_that_wants_a_password_is_named(plain: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy("socks5", plain.url, "ann:geheim") as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5://ann:falsch@{proxy.address}")
        for reach in (lists, chats):
            assert f"gives no connection to {FAR} (" in reach(FAR) and "falsch" not in reach(FAR)


@BOTH
@pytest.mark.parametrize("value", ["ftp://127.0.0.1:9", "http://", "socks5://127.0.0.1:x", "socks5h://"])
def test_an_address_that_is_none_of_a_proxy(monkeypatch: pytest.MonkeyPatch, value: str, reach: Reach) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    assert "is not the address of a proxy" in reach(FAR)


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_would_lose_the_request_is_named(status: int) -> None:
    with ModelServer() as server:
        target = "https://models.test/api/v1"
        server.pages["POST", "/v1/chat/completions"] = status, "", {"Location": f"{target}/chat/completions"}
        said = chats(server.url)
        assert said.startswith(f"{server.url} sends requests elsewhere") and said.endswith(f": {target}")
        server.pages["GET", "/v1/models"] = status, "", {"Location": "/v2/models"}
        server.pages["GET", "/v2/models"] = 200, {"data": []}
        assert lists(server.url) == said
        server.pages["POST", "/v1/chat/completions"] = status, "", {"Location": "/v2/chat/completions"}
        assert chats(server.url).endswith(server.url.replace("/v1", "/v2"))


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_that_keeps_the_request_is_followed(plain: ModelServer, status: int) -> None:
    with ModelServer(key="right") as server:
        server.pages["POST", "/v1/chat/completions"] = status, "", {"Location": f"{plain.url}/chat/completions"}
        before = len(plain.chats)
        assert chats(server.url, "right") is True
    assert len(plain.chats) == before + 1 and "authorization" not in plain.chats[-1].headers  # it is another server


LOGIN = "Basic YW5uOmdlOmhlaW0gIQ=="  # ann:ge:heim !


def test_a_password_in_the_address_is_used_and_never_shown(project: Path) -> None:
    with ModelServer(("acme/one", "acme/two"), key=LOGIN) as server:
        secret = server.url.replace("//", "//ann:ge%3Aheim%20!@")
        use(project, "generation", inference="openai-compatible", base_url=secret)
        done = [run(project, "check.py"), run(project, "generate.py", env={"OPENAI_API_KEY": "for-another"})]
        assert [each.returncode for each in done] == [0, 0], done
        assert {chat.headers["authorization"] for chat in server.chats} == {LOGIN}
        server.key = "Basic another"
        done += [run(project, "generate.py", "--base-url", secret.replace("heim", "h%65im"), "--limit", "2")]
        use(project, "generation", prompts="starter")
        done += [run(project, "generate.py"), run(project, "check.py")]
    done += [run(project, "generate.py"), run(project, "generate.py", "--base-url", "ftp://ann:geheim@models.test")]
    use(project, "generation", base_url="http://ann:geheim@models.test /v1")
    done += [run(project, "check.py")]
    assert [each.returncode for each in done[3:]] == [1] * 5
    for each in done:
        assert "heim" not in each.stdout + each.stderr and "YW5u" not in each.stdout + each.stderr
    written = [path for path in project.rglob("*") if path.is_file() and path.name != "settings.toml"]
    assert written and not any(b"heim" in path.read_bytes() for path in written)


def test_what_cannot_change_by_itself_ends_the_model_at_once(secure: ModelServer) -> None:
    async def chat() -> None:
        client = ModelClient(Server(secure.url), 4, 5)
        try:
            with pytest.raises(ModelUnusable, match="not trusted"):
                await client.complete(BODY)
        finally:
            await client.close()

    asyncio.run(chat())


def test_both_commands_follow_the_rule(
    project: Path, secure: ModelServer, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(project, "generation", inference="openai-compatible", base_url=secure.url)
    for script in ("check.py", "generate.py"):
        done = run(project, script)
        assert done.returncode == 1 and f"The certificate of {secure.url} is not trusted" in done.stderr
        done = run(project, script, env={"SSL_CERT_FILE": str(bundle)})
        assert (done.returncode, done.stderr) == (0, "")
