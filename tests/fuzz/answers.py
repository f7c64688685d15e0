"""What can be odd about an answer: drawn by hypothesis as plain values, made into bytes from a good answer.

Most that goes wrong hides behind an answer that is nearly good. So an odd one is a good one of the sandbox with a node
of its JSON replaced, left out or repeated, another status, a header too many, another coding or framing, a cut.
"""

from __future__ import annotations

import ast
import base64
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from airflow_runctl.vendors.axiom.vendor import Axiom
from airflow_runctl.vendors.bctrl.browsers import BctrlBrowsers
from airflow_runctl.vendors.bctrl.workspaces import BctrlWorkspaces
from airflow_runctl.vendors.snaplogic.vendor import SnapLogic
from airflow_runctl.vendors.vectorshift.vendor import VectorShift
from tests.places import PACKAGE

STRANGER = "http://127.0.0.1:1"
"""Stands in an answer for the address of another host; the server puts a true one there."""


@dataclass(frozen=True)
class Good:
    """A good answer, as the sandbox gave it."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(frozen=True)
class Change:
    """A change of one node of a JSON body.

    :param at: which node, counted from those that our code reads; round and round.
    :param how: ``replace``, ``delete``, ``wrap``, ``repeat`` (its key), ``swell`` (a list), ``add`` (a key beside it).
    :param by: JSON as text, or what somebody may take for it.
    :param key: the key that is added.
    """

    at: int
    how: str
    by: bytes
    key: str = ""


@dataclass(frozen=True)
class Odd:
    """What is odd about one answer; as it stands, nothing is.

    :param turn: which of several good answers to the same request it begins with.
    :param changes: of its JSON body.
    :param body: instead of its body; ``echo`` in place of it quotes the request.
    :param status: instead of its status line's number.
    :param headers: further headers.
    :param coding: of the content.
    :param framing: how the body's end is told.
    :param version: the protocol in the status line.
    :param raw: instead of the whole.
    :param cut: thousandths of it that are sent.
    :param end: what happens to the connection then: ``keep``, ``close``, ``reset``, ``hold``.
    """

    turn: int = 0
    changes: tuple[Change, ...] = ()
    body: bytes | None = None
    status: bytes | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    coding: str = ""
    framing: str = "length"
    version: bytes = b"HTTP/1.1"
    raw: bytes | None = None
    cut: int = 1000
    end: str = "keep"

    def answer(self, good: Good, request: bytes) -> bytes:
        """Return the bytes that are sent."""
        whole = self._whole(good, request) if self.raw is None else self.raw
        return whole[: len(whole) * self.cut // 1000]

    def body_of(self, good: Good, request: bytes) -> bytes:
        """Return the body before it is coded."""
        body = changed(good.body, self.changes) if self.body is None else self.body
        if body == ECHO:
            return json.dumps({"message": request.decode("latin-1"), "status": "error"}).encode()
        return {PLAIN_ECHO: request, DECODED_ECHO: unquoted(request)}.get(body, body)

    def _whole(self, good: Good, request: bytes) -> bytes:
        body = self.body_of(good, request)
        headers = [*(pair for pair in good.headers if pair[0].lower() not in FRAMES), *self.headers]
        coded = CODINGS[self.coding]
        if coded is not None:
            name, code = coded
            body = code(body)
            headers.append((b"Content-Encoding", name))
        headers, body = framed(headers, body, self.framing)
        status = str(good.status).encode() if self.status is None else self.status
        head = b" ".join((self.version, status, b"Odd"))
        lines = [head, *(name + b": " + value for name, value in headers)]
        return b"\r\n".join(lines) + b"\r\n\r\n" + body


FRAMES = (b"content-length", b"transfer-encoding", b"content-encoding", b"connection", b"date", b"server")


def framed(headers: list[tuple[bytes, bytes]], body: bytes, framing: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body of a message that tells in one way or another where it ends."""
    if framing.startswith("chunk"):
        half = len(body) // 2
        pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part)
        pieces += b"0\r\n\r\n"
        if framing == "chunk size of letters":
            pieces = b"zz\r\n" + pieces
        elif framing == "chunk size below zero":
            pieces = b"-5\r\n" + pieces
        elif framing == "chunk size without end":
            pieces = b"f" * 5000 + b"\r\n" + pieces
        elif framing == "chunk extension":
            pieces = pieces.replace(b"\r\n", b";a=" + b"b" * 2000 + b"\r\n", 1)
        elif framing == "chunk trailer":
            pieces = pieces[:-2] + b"X-Trailer: \xff\r\n" * 200 + b"\r\n"
        elif framing == "chunks and length":
            headers = [*headers, (b"Content-Length", b"3")]
        return [*headers, (b"Transfer-Encoding", b"chunked")], pieces
    lengths = {
        "length": b"%d" % len(body),
        "length too short": b"%d" % (len(body) // 2),
        "length too long": b"%d" % (len(body) + 10),
        "length below zero": b"-1",
        "length of letters": b"many",
        "length beyond all": b"9" * 5000,
        "length of strange digits": "²".encode(),
        "length twice": b"1",
        "none": None,
    }
    length = lengths[framing]
    if framing == "length twice":
        headers = [*headers, (b"Content-Length", b"%d" % len(body))]
    return (headers if length is None else [*headers, (b"Content-Length", length)]), body


FRAMINGS = (
    *("length too short", "length too long", "length below zero", "length of letters", "length beyond all"),
    *("length of strange digits", "length twice", "none", "chunks", "chunk size of letters", "chunk size below zero"),
    *("chunk size without end", "chunk extension", "chunk trailer", "chunks and length"),
)


def _raw_deflate(body: bytes) -> bytes:
    press = zlib.compressobj(wbits=-15)
    return press.compress(body) + press.flush()


BOMB = gzip.compress(b"[" + b"1," * 12_000_000 + b"1]", 9)
"""Small on the wire, 24 MB when it is unpacked: more than is read of any answer."""

CODINGS: dict[str, Any] = {
    "": None,
    "gzip": (b"gzip", gzip.compress),
    "deflate": (b"deflate", zlib.compress),
    "raw deflate": (b"deflate", _raw_deflate),
    "broken gzip": (b"gzip", lambda body: gzip.compress(body)[:-9] + b"\0" * 9),
    "cut gzip": (b"gzip", lambda body: gzip.compress(body)[:-12]),
    "no gzip": (b"gzip", lambda body: body),
    "no deflate": (b"deflate", lambda body: body),
    "no br": (b"br", lambda body: body),
    "no zstd": (b"zstd", lambda body: body),
    "gzip and more": (b"gzip", lambda body: gzip.compress(body) + b"more"),
    "gzip twice": (b"gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
    "many": (b", ".join([b"gzip"] * 50), gzip.compress),
    "unknown": (b"\xff\xfe", lambda body: body),
    "bomb": (b"gzip", lambda body: BOMB),
}

ECHO, PLAIN_ECHO, DECODED_ECHO = b"<json echo>", b"<echo>", b"<decoded echo>"
"""Bodies that quote the request, as the error pages of gateways do."""


def unquoted(request: bytes) -> bytes:
    """Return what a page says that shows whoever logs in: the login and password of Basic authentication."""
    found = re.search(rb"(?i)authorization: basic (\S+)", request)
    return b"Bad login: " + (base64.b64decode(found[1]) if found else request)


def _read() -> set[str]:
    """Return the words in the code of the vendors: among them are all keys of answers that it reads."""
    trees = [ast.parse(file.read_text()) for file in (PACKAGE / "vendors").glob("**/*.py")]
    texts = [node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return {text for text in texts if isinstance(text, str) and re.fullmatch(r"[A-Za-z]\w{1,30}", text)}


READ = _read()

# -- JSON ------------------------------------------------------------------------------------------------


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every node of JSON as the container that holds it and its key there; the root's is a list of one."""
    waiting: list[tuple[Any, Any]] = [([value], 0)]
    while waiting:
        holder, key = waiting.pop(0)
        yield holder, key
        inner = holder[key]
        if isinstance(inner, dict | list):
            waiting += [(inner, name) for name in (inner if isinstance(inner, dict) else range(len(inner)))]


def changed(body: bytes, changes: Sequence[Change]) -> bytes:
    """Return JSON with changes; what is no JSON stays."""
    try:
        root = [json.loads(body)]
    except ValueError:
        return body
    raws: list[bytes] = []

    def mark(raw: bytes) -> str:
        raws.append(raw)
        return f"@@{len(raws) - 1}@@"

    for change in changes:
        found = [(root, 0), *list(nodes(root[0]))[1:]]
        found.sort(key=lambda node: node[1] not in READ)
        holder, key = found[change.at % len(found)]
        if change.how == "add" and isinstance(holder, dict):
            holder[change.key] = mark(change.by)
        elif change.how == "delete" and holder is not root:
            del holder[key]
        elif change.how == "wrap":
            holder[key] = [holder[key]]
        elif change.how == "repeat" and isinstance(holder, dict):
            # A key twice, and the second time with something else.
            holder[mark(b'"%s": %s, "%s"' % (key.encode(), change.by, key.encode()))] = holder.pop(key)
        elif change.how == "swell" and isinstance(holder[key], list) and holder[key]:
            holder[key] = [unlike(holder[key][0], number) for number in range(60)]
        else:
            holder[key] = mark(change.by)
    text = json.dumps(root[0]).encode()
    for number, raw in enumerate(raws):
        text = text.replace(b'"@@%d@@"' % number, raw)
    return text


def unlike(entry: Any, number: int) -> Any:
    """Return an entry of a list with an id of its own."""
    if not isinstance(entry, dict):
        return f"{entry}-{number}"
    ids = {"id", "ruuid", "spanId", "span_id"}
    return {key: f"{value}-{number}" if key in ids else value for key, value in entry.items()}


DEEP = (b"[" * 100_000, b"[" * 5000 + b"]" * 5000, b'{"a":' * 5000 + b"1" + b"}" * 5000)
NEARLY_DEEP = tuple(b"[" * depth + b"]" * depth for depth in (90, 150, 250, 400, 600, 800, 900, 940, 960, 980, 990))
"""What Python can just read, so that whoever goes on with it falls."""

WORDS = sorted(
    {word for one in (SnapLogic, Axiom, VectorShift, BctrlBrowsers, BctrlWorkspaces) for word in one.states}
    | {"error", "success", "Finished", "idle", "unknown", "paused", "FAILED", "browser.stop_pending"}
)

TEXTS = (
    *("", " ", ".", "..", "../..", "a/b", "%2e%2e", "\0", "\n", "\r\nX-A: b", "²", "٣٠٠", "-1", "200", "404", "500"),
    *("x" * 300, "x" * 100_000, "\u2028", "\ufeff", "\ufffe", "\U0001f600", "ä", "{org}", "%s", "{}", "None", "null"),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00", "2026-01-01T00:00:00Z"),
    *("2026-01-01T00:00:00+00:00", "1e999", f"{STRANGER}/a", f"{STRANGER}/?host=c-0007-v4&password=x", "9" * 5000),
    *("https://lar.axiom.ai/?host=c-0007-v4-proxy&password=a%ff%00b", "//[", "http://[::1", "http://a:b:c"),
)

NUMBERS = (
    *(b"0", b"-1", b"-0", b"1.5", b"1e308", b"1e-400", b"200", b"404", b"500", b"999", b"1e999", b"-1e999", b"NaN"),
    *(b"Infinity", b"-Infinity", b"9" * 20, b"9" * 400, b"9" * 4299, b"9" * 5000, b"-" + b"9" * 4299, b"1" + b"0" * 25),
    *(b"18446744073709551616", b"1.7976931348623159e308", b"true", b"false", b"null"),
)

NO_TEXT = (
    *(b'"\\ud800"', b'"a\\udfffb"', b'"\\ude00\\ud83d"', b'"\xff"', b'"\xed\xa0\x80"', b'"\\u0000"', b'"\\x"', b"'"),
    *(
        b'{"a": "\\ud800"}',
        b'{"\xed\xa0\x80": 1}',
        b'["\xed\xb0\x80"]',
        b"",
        b"undefined",
        b"01",
        b"1_0",
        b"0x10",
        b"[1,]",
        b"{a: 1}",
    ),
)
"""Half characters, and what is no JSON at all."""

CONTAINERS = (
    *(b"[]", b"{}", b"[[]]", b"[null]", b"[{}]", b"[[1]]", b'{"": 1}', b'{"id": null}', b'{"id": "a", "id": 1}'),
    *(b'{"message": {"message": []}}', b'[{"message": 1e999}]', b"[" + b"{}," * 3000 + b"{}]"),
    *(b'{"' + b"k" * 1000 + b'": 1}', b'["' + b"m" * 2000 + b'"' + b',"n"' * 2000 + b"]"),
    b"[" + b",".join(b'{"message": "%04d%s"}' % (number, b"m" * 90) for number in range(500)) + b"]",
)

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(st.characters(exclude_categories=[]), max_size=20)
    | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())

token = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(NO_TEXT),
    st.sampled_from(CONTAINERS),
    st.sampled_from([*DEEP, *NEARLY_DEEP]),
    st.sampled_from(WORDS).map(lambda word: json.dumps(word).encode()),
    st.sampled_from(TEXTS).map(lambda text: json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    anything,
)

changes = st.lists(
    st.builds(
        Change,
        st.integers(0, 60),
        st.sampled_from([*["replace"] * 6, *["add"] * 3, "delete", "delete", "wrap", "repeat", "swell"]),
        token,
        st.sampled_from(sorted(READ)),
    ),
    min_size=1,
    max_size=3,
).map(tuple)

body = st.one_of(
    token,
    st.binary(max_size=60),
    st.sampled_from([ECHO, ECHO, PLAIN_ECHO, PLAIN_ECHO, DECODED_ECHO]),
    st.sampled_from(
        [b"", b" \r\n", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), "{}".encode("utf-32"), b"\xff\xfe", b"<html>" * 100]
    ),
)

# -- HTTP ------------------------------------------------------------------------------------------------

status = st.one_of(
    st.sampled_from([200, 201, 202, 204, 205, 206, 301, 302, 303, 304, 307, 308]),
    st.sampled_from([400, 401, 402, 403, 404, 405, 409, 410, 413, 422, 429, 500, 502, 503, 504]),
    st.integers(100, 999),
).map(lambda number: b"%d" % number) | st.sampled_from(
    [b"", b"0", b"99", b"1000", b"-200", b"2e2", b"\xb2\xb3\xb9", "٣٠٠".encode(), b"+200", b"20O", b"9" * 5000]
)

DATES = (
    *("Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 -9999", "Mon, 01 Jan 0001 00:00:00 +2359"),
    *("Mon, 01 Jan 99999 00:00:00 GMT", "Mon, 01 Jan 2026 00:00:00 +99999999999", "Mon, 99 Foo 2026 99:99:99 GMT"),
    *("", "now", "1", "-1", "0.5", "1e999", "nan", "inf", "٣", "²", "9" * 5000, "2026-01-01", ",,,", "\xff"),
    *("Mon, 01 Jan 2026 00:00:00", "Mon, 01 Jan 2026 00:00:00 -0000", "1 Jan 2026 0:0", "(" * 2000, '"' * 99),
)

CHARSETS = (
    "utf-8",
    "latin-1",
    "utf-7",
    "klingon",
    "",
    "\xff",
    "utf-16",
    "idna",
    "base64",
    "undefined",
    "unicode_escape",
)

TYPES = (
    *(f"application/json; charset={charset}" for charset in CHARSETS),
    *("text/html", "", "application/octet-stream", "multipart/form-data", ";;;", 'a/b; charset="', "x" * 8000, "\xff"),
)

LOCATIONS = (f"{STRANGER}/", "//127.0.0.1:1/", "http://[", "/", "", "javascript:", "http://a..b/", "\xff", "?" * 9000)

RUUIDS = ("r-1", "\xe4\xff", "..", "", " ", "a/b", "x" * 5000, "\x01", "²", "é".encode().decode("latin-1"))


def _header(name: bytes, values: Sequence[str]) -> st.SearchStrategy[tuple[tuple[bytes, bytes], ...]]:
    return st.sampled_from(values).map(lambda value: ((name, value.encode("utf-8")),)) | st.sampled_from(values).map(
        lambda value: ((name, value.encode("latin-1", "ignore")),)
    )


headers = st.one_of(
    _header(b"Retry-After", DATES),
    _header(b"Date", DATES),
    _header(b"Content-Type", TYPES),
    _header(b"Location", LOCATIONS),
    _header(b"X-SL-StatusCode", ("", "200", "404", "503", "²", "٣٠٠", "-1", "true", "\xff", "9" * 5000)),
    _header(b"X-SNAPI-Pipeline-RUUID", RUUIDS),
    _header(
        b"Set-Cookie", ("a=b", "=", "\xff=\xfe", "a=b; Max-Age=9999999999999999999", "a=b; Expires=\xff", ";" * 999)
    ),
    _header(b"Transfer-Encoding", ("chunked", "gzip", "identity", "chunked, chunked", "\xff", "")),
    _header(b"Connection", ("close", "upgrade", "\xff", "keep-alive, close")),
    _header(b"Keep-Alive", ("timeout=\xff", "timeout=-1", "max=0")),
    _header(b"Upgrade", ("h2c", "websocket")),
    _header(b"Content-Length", ("0", "-1", "+5", "5, 5", "0x10", "\xb2")),
    st.binary(min_size=1, max_size=20).map(lambda value: ((b"X-Any", value),)),
    st.binary(min_size=1, max_size=20).map(lambda name: ((name, b"a"),)),
    st.sampled_from([90, 99, 101, 200, 3000]).map(lambda count: tuple((b"X-%d" % n, b"v") for n in range(count))),
    st.sampled_from([8000, 9000, 70_000]).map(lambda size: ((b"X-Long", b"v" * size),)),
)

raw = st.one_of(
    st.binary(max_size=80),
    st.sampled_from(
        [
            *(b"", b"\r\n\r\n", b"\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 \r\n\r\n", b"HTTP/1.1 200\r\n\r\n", b" " * 999),
            *(b"HTTP/9.9 200 OK\r\n\r\n{}", b"HTTP/0.9 200 OK\r\n\r\n{}", b"ICY 200 OK\r\n\r\n{}", b"{}", b"<html>"),
            *(b"HTTP/1.1 100 Continue\r\n\r\n" * 5, b"HTTP/1.1 101 Go\r\nUpgrade: h2c\r\n\r\n", b"\x16\x03\x01\0\xff"),
            *(b"HTTP/1.1 103 Hints\r\n\r\n" * 5 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"A" * 100_000),
            *(
                b"HTTP/1.1 200 OK\r\n folded\r\nContent-Length: 2\r\n\r\n{}",
                b"HTTP/1.1 200 OK\r\n:\r\n\r\n",
                b"\0" * 99,
            ),
            *(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",),
        ]
    ),
)

_alone = {
    "changes": changes,
    "body": body,
    "status": status,
    "headers": st.lists(headers, min_size=1, max_size=2).map(
        lambda lists: tuple(pair for one in lists for pair in one)
    ),
    "coding": st.sampled_from(sorted(set(CODINGS) - {""})),
    "framing": st.sampled_from(FRAMINGS),
    "version": st.sampled_from([b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2", b"HTTP/1", b"http/1.1", b"HTTP/1.\xff", b""]),
    "raw": raw,
    "cut": st.integers(0, 999),
}
"""What can be odd, each by itself."""

_OFTEN = (
    "changes",
    "changes",
    "changes",
    "changes",
    "changes",
    "changes",
    "body",
    "body",
    "status",
    "status",
    "headers",
)


def _odd(*names: str) -> st.SearchStrategy[Odd]:
    """Return what draws an answer that is odd in one to three of these ways."""

    @st.composite
    def draw_odd(draw: Any) -> Odd:
        chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
        end = draw(st.sampled_from(ENDS))
        return Odd(turn=draw(st.integers(0, 7)), end=end, **{name: draw(_alone[name]) for name in chosen})

    return draw_odd()


ENDS = (*["keep"] * 12, *["close"] * 5, *["reset"] * 2, "hold")


def _script(odd: st.SearchStrategy[Odd]) -> st.SearchStrategy[tuple[Odd, ...]]:
    good = st.builds(Odd, turn=st.integers(0, 7))
    before = st.one_of(st.lists(good, max_size=5), st.lists(st.one_of(good, odd, odd), max_size=3))
    return st.tuples(before, odd).map(lambda drawn: (*drawn[0], drawn[1]))


script = _script(_odd(*_OFTEN, *_alone))
"""What is answered to the first requests of a flow, at least one of them oddly; good answers follow."""

content = _script(_odd("changes", "changes", "changes", "body", "status"))
"""The same, odd only in what is said."""
