"""What gohttp.bpf.c is attached to, and how its maps lie: functions of net/http, database/sql, crypto/tls and gRPC.

Names are those of Go 1.19 to 1.27 and of golang.org/x/net/http2 and google.golang.org/grpc as services have them: what
a program has not linked is left out. Results are in registers: a *Response or *Rows takes one, an error or Result two.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np

SERVE, STATUS, SERVED, HIJACKED, PANIC, TRIP, TRIPPED, CALL, PREPARED, PLAIN, RETURNED, RPC, RPC_STATUS = range(1, 14)
"""Actions: enum action."""
SERVER, CLIENT, QUERY, HANDSHAKE, RPC_SERVER, RPC_CLIENT = KINDS = range(6)
"""Enum kind."""
ON_RETRY, STEPPED = 1, 2
"""Flags."""
HITS, STEPPED_HITS, LOST, UNTOLD = METERS = range(4)
"""Enum meter."""
FAILED, PANICKED = 1, 2
TEXT, HOST, METHOD, SLOTS = 128, 48, 8, 104

ROUTE: Final = np.dtype(
    [
        ("kind", "u1"), ("op", "u1"), ("failed", "u1"), ("unused", "u1"), ("status", "<u4"),
        ("method", f"S{METHOD}"), ("host", f"S{HOST}"), ("text", f"S{TEXT}"),
    ]
)  # fmt: skip
RUNNING: Final = np.dtype(
    [
        ("route", ROUTE), ("began", "<u8"), ("request", "<u8"), ("goid", "<u8"), ("panicked", "<u8"),
        ("sample", f"S{TEXT}"), ("scan", "<u4", (8,)),
    ]
)  # fmt: skip
CALLER: Final = np.dtype([("g", "<u8"), ("kind", "<u8")])
TOTAL: Final = np.dtype(
    [
        ("count", "<u8"), ("sum", "<u8"), ("most", "<u8"), ("look", "<u8"), ("slots", "<u4", (SLOTS,)),
        ("sample", f"S{TEXT}"),
    ]
)  # fmt: skip
FINISHED: Final = np.dtype(
    [("route", ROUTE), ("began", "<u8"), ("took", "<u8"), ("goid", "<u8"), ("sample", f"S{TEXT}")]
)
STATE: Final = np.dtype([("open", "<u4"), ("look", "<u4"), ("slow", "<u8", (len(KINDS),)), ("method_at", "<u8")])

Group = Literal["server", "client", "sql", "tls", "grpc"]
GROUPS: Final[tuple[Group, ...]] = ("server", "client", "sql", "tls", "grpc")
PROTOCOLS: Final = {1: "HTTP/1", 2: "HTTP/2", 3: "HTTP/3"}
SQL_WORDS: Final = {1: "query", 2: "exec", 3: "begin", 4: "commit"}
TLS_SERVER, TLS_CLIENT = 1, 2


class Start(NamedTuple):
    """A function that is probed where it starts, and where it returns if `returns` is an action."""

    group: Group
    name: str
    kind: int
    action: int
    argument: int = 0
    returns: int = 0
    result: int = 0


HTTP1, HTTP2, INTERNAL, X_NET = (
    "net/http.",
    "net/http.(*http2",
    "net/http/internal/http2.(*",
    "golang.org/x/net/http2.(*",
)
SERVE_HTTP: Final = Start("server", "net/http.serverHandler.ServeHTTP", SERVER, SERVE, 3)
RUN_HANDLER: Final = Start("server", f"{X_NET}serverConn).runHandler", SERVER, SERVE, 2)
"""Also for those that serve HTTP/2 without net/http's server (h2c)."""
ENDS: Final = (
    Start("server", "net/http.(*response).finishRequest", SERVER, SERVED),
    Start("server", f"{HTTP2}responseWriter).handlerDone", SERVER, SERVED),
    Start("server", f"{INTERNAL}responseWriter).handlerDone", SERVER, SERVED),
    Start("server", f"{X_NET}responseWriter).handlerDone", SERVER, SERVED),
)
"""Called by the goroutine of the handler when that has returned; a cheaper place than the RET of ServeHTTP."""
ENDS_OF: Final = {
    SERVE_HTTP.name: tuple(row.name for row in ENDS[:-1]),
    RUN_HANDLER.name: (ENDS[-1].name,),
}
"""Those that end what each of the two has begun; where one of them cannot be probed, RETs serve."""
SERVING: Final = (
    SERVE_HTTP,
    RUN_HANDLER,
    *ENDS,
    Start("server", "net/http.(*response).Hijack", SERVER, HIJACKED),
    Start("server", "net/http.(*response).WriteHeader", SERVER, STATUS),
    Start("server", f"{HTTP2}responseWriterState).writeHeader", SERVER, STATUS),
    Start("server", f"{INTERNAL}responseWriterState).writeHeader", SERVER, STATUS),
    Start("server", f"{X_NET}responseWriterState).writeHeader", SERVER, STATUS),
)
PANICS: Final = Start("server", "runtime.gopanic", SERVER, PANIC)
ASKING: Final = (
    Start("client", "net/http.(*Transport).roundTrip", CLIENT, TRIP, 0, TRIPPED),
    Start("client", f"{X_NET}Transport).RoundTripOpt", CLIENT, TRIP, 0, TRIPPED),
)
ROWS, RESULT = 1, 2
"""The register that has the error, behind a *Rows and behind a Result."""
SQL: Final = (
    *(
        Start("sql", f"database/sql.(*{who}).{word}Context", QUERY, action, op, RETURNED, error)
        for who, action in (("DB", CALL), ("Tx", CALL), ("Conn", CALL), ("Stmt", PREPARED))
        for word, op, error in (("Query", 1, ROWS), ("Exec", 2, RESULT))
    ),
    Start("sql", "database/sql.(*DB).BeginTx", QUERY, PLAIN, 3, RETURNED, 1),
    Start("sql", "database/sql.(*Tx).Commit", QUERY, PLAIN, 4, RETURNED, 0),
)
TLS: Final = (
    Start("tls", "crypto/tls.(*Conn).serverHandshake", HANDSHAKE, PLAIN, TLS_SERVER, RETURNED),
    Start("tls", "crypto/tls.(*Conn).clientHandshake", HANDSHAKE, PLAIN, TLS_CLIENT, RETURNED),
)
TRANSPORT: Final = "google.golang.org/grpc/internal/transport.(*"
GRPC: Final = (
    Start("grpc", "google.golang.org/grpc.(*Server).handleStream", RPC_SERVER, RPC),
    *(
        Start("grpc", f"{TRANSPORT}{server}).{word}", RPC_SERVER, RPC_STATUS)
        for server in ("http2Server", "serverHandlerTransport")
        for word in ("WriteStatus", "writeStatus")
    ),
    Start("grpc", "google.golang.org/grpc.(*ClientConn).Invoke", RPC_CLIENT, CALL, 0, RETURNED),
)
ALL: Final = (*SERVING, PANICS, *ASKING, *SQL, *TLS, *GRPC)
NEEDED: Final = {
    "server": (SERVE_HTTP.name, RUN_HANDLER.name),
    "client": tuple(row.name for row in ASKING),
    "sql": tuple(row.name for row in SQL),
    "tls": tuple(row.name for row in TLS),
    "grpc": (GRPC[0].name, GRPC[-1].name),
}
"""Of each group, functions without all of which there is nothing to see."""


def cookie(action: int, argument: int, kind: int, *, on_retry: bool, stepped: bool) -> int:
    """What tells a probe what it stands for."""
    flags = (ON_RETRY if on_retry else 0) | (STEPPED if stepped else 0)
    return action | argument << 8 | kind << 16 | flags << 24
