"""A labelled corpus: what must never survive, and what must stay as it is."""

import re

import pytest
from gotriage.records import secrets


def words(text: str) -> list[str]:
    return text.split()


PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEsecretsecret\n-----END RSA PRIVATE KEY-----"

# text, the part that must be gone
PLANTED = [
    ("Authorization: Bearer abc123.def456", "abc123.def456"),
    ("authorization: Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy"),
    ('{"Authorization":"token 0a1b2c3d4e5f"}', "0a1b2c3d4e5f"),
    ("headers=map[Authorization:[Bearer zzz.yyy.xxx9] Accept:[*/*]]", "zzz.yyy.xxx9"),
    ('Authorization: Digest username="bob", response="6629fae49393a053"', "bob"),
    ("Proxy-Authorization: Basic cHJveHk6cGFzcw==", "cHJveHk6cGFzcw"),
    ("got bearer 0123456789abcdef from client", "0123456789abcdef"),
    ("Cookie: session=s3cr3t; theme=dark", "s3cr3t"),
    ("Set-Cookie: sid=tops3cret; Path=/; HttpOnly", "tops3cret"),
    ("postgres://app:hunter2@db.internal:5432/orders", "hunter2"),
    ("dial redis://:hunter2@10.0.0.1:6379/0", "hunter2"),
    ("amqp://guest:p@ss@rabbit:5672/", "p@ss"),
    ("postgres://u:pa/ss@w0rd@host/db", "pa/ss"),
    ("mongodb+srv://root:hunter2@cluster0.example.net/?retryWrites=true", "hunter2"),
    ("root:hunter2@tcp(127.0.0.1:3306)/orders?parseTime=true", "hunter2"),
    ("dsn=root:hunt:er2@unix(/run/mysqld.sock)/orders", "hunt:er2"),
    ("password=hunter2", "hunter2"),
    ("host=db user=app password=hunter2 dbname=orders", "hunter2"),
    ("DB_PASSWORD=hunter2 started", "hunter2"),
    ('{"password": "p w d", "user": "bob"}', "p w d"),
    ('{"user":"bob","password":"with \\"quote\\" inside"}', "inside"),
    ('msg="{\\"password\\":\\"hunter2\\"}"', "hunter2"),
    ("password: hunter2", "hunter2"),
    ("Passphrase: 'open sesame'", "sesame"),
    ("api_key=0a1b2c3d", "0a1b2c3d"),
    ("apiKey: 0a1b2c3d4e", "0a1b2c3d4e"),
    ("X-Api-Key: 0a1b2c3d4e", "0a1b2c3d4e"),
    ("client_secret=abcdef&grant_type=x", "abcdef"),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI"),
    ("using AKIAIOSFODNN7EXAMPLE for s3", "IOSFODNN7EXAMPLE"),
    ("ghp_0123456789abcdefghijABCDEFGHIJ012345", "0123456789abcdefghij"),
    ("clone https://ghp_0123456789abcdefghijABCDEFGHIJ012345@github.com/x/y", "0123456789abcdefghij"),
    ("slack xoxb-123456789012-abcdefghij", "123456789012"),
    ("https://hooks.slack.com/services/T000/B000/XXXXsecret", "XXXXsecret"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9", "dozjgNryP4J3"),
    ("sk_live_0123456789abcdefABCD", "0123456789abcdef"),
    ("GET /blob?sv=2020&sig=AbCdEf%2F123 HTTP/1.1", "AbCdEf"),
    ("https://s3.example/x?X-Amz-Signature=deadbeef00&X-Amz-Date=1", "deadbeef00"),
    ("refresh_token=1//0gabc", "0gabc"),
    ("ran app --password hunter2 --port 80", "hunter2"),
    ("ran app --db.password=hunter2 --port 80", "hunter2"),
    ("ran app -secret hunter2 -port 80", "hunter2"),
    ("ran app -secret 'two words' -port 80", "words"),
    ("/bin/sh -c exec app --db.token hunter2", "hunter2"),
    ('args=["--token","hunter2","-v"]', "hunter2"),
    ("args: ['-token', 'hunter2']", "hunter2"),
    ("GITHUB_PAT=hunter2", "hunter2"),
    ("hotp otp=123456", "123456"),
    ("SG.0123456789abcdefgh.0123456789abcdefgh", "0123456789abcdefgh"),
    ("ya29.0123456789abcdefghijkl", "0123456789abcdefghijkl"),
    ("hvs.0123456789abcdefghijkl", "0123456789abcdefghijkl"),
    ("ASIAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"),
    ("AIza0123456789abcdefghijABCDEFGHIJ01234", "0123456789abcdefghij"),
    ("whsec_0123456789abcdef", "0123456789abcdef"),
    ("npm_0123456789abcdefghijABCDEFGHIJ012345", "0123456789abcdefghij"),
    ("dckr_pat_0123456789abcdefghij", "0123456789abcdefghij"),
    ("hmac=0a1b2c", "0a1b2c"),
    ("creds: hunter2x", "hunter2x"),
    ("jwt=abc.def", "abc.def"),
    ("MYSQL_PWD=hunter2", "hunter2"),
    ("/cb?code=hunter2&state=1", "hunter2"),
    (PEM, "MIIEsecret"),
    ("key -----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk", "b3BlbnNzaC1rZXk"),
    ("Password=>hunter2", "hunter2"),
    ('level=info token="ab cd ef" n=1', "ab cd"),
]

BENIGN = [
    "listening on http://127.0.0.1:8080/debug/pprof",
    "http://host:8080/users/bob@example.com",
    "accept tcp 127.0.0.1:8080: too many open files",
    "invalid token: expected a name",
    "unexpected token: colon",
    "tokenizer=bpe compass=north passenger=7 monkey=see author=kim keyboard=us",
    "cache key=user:17 hit=true",
    "public_key=abcdef primary_key=id",
    "token_ttl=3600 password_min_length=12 secret_name=tls-cert",
    "password_file=/run/secrets/db",
    "basic authentication failed for user bob",
    "bearer authentication required",
    "got 3 cookies",
    "commit 9f3c2e1a7b4d5e6f708192a3b4c5d6e7f8091a2b",
    "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "goroutine 17 [IO wait, 3 minutes]:",
    "user=bob id=4c1e9a72-70f5-4c8e-a1d3-0d9f7f4f2b10 latency=3ms",
    '{"level":"info","msg":"ok","token_type":"x"}',
    "password=",
    "password=true",
    "key rotation done in 3s",
    "mail to bob@example.com: sent",
    "ran app -token-file /run/x -secret-name tls",
    "the pre-token stage is done",
]


@pytest.mark.parametrize(("text", "secret"), PLANTED, ids=[str(n) for n in range(len(PLANTED))])
def test_planted_secret_is_gone(text: str, secret: str) -> None:
    counts: dict[str, int] = {}
    masked = secrets.mask_text(text, counts)
    assert secret not in masked
    assert secrets.MASK in masked
    assert sum(counts.values()) >= 1
    assert set(counts) <= set(secrets.RULES)


@pytest.mark.parametrize("text", [text for text, _ in PLANTED])
def test_what_is_masked_is_suspicious(text: str) -> None:
    assert secrets.suspicious(text.encode())


def test_an_ordinary_line_is_not_suspicious() -> None:
    line = b'{"time":"2026-11-23T02:47:10Z","level":"INFO","msg":"served","path":"/orders/7","status":200,"ms":2}'
    assert not secrets.suspicious(line)
    assert not secrets.suspicious(b"2009/11/10 23:00:00 GET http://127.0.0.1:8080/health 200")


@pytest.mark.parametrize("text", BENIGN)
def test_benign_text_stays(text: str) -> None:
    assert secrets.mask_text(text) == text


@pytest.mark.parametrize("text", [text for text, _ in PLANTED] + BENIGN)
def test_masking_again_changes_nothing(text: str) -> None:
    once = secrets.mask_text(text)
    assert secrets.mask_text(once) == once


def test_the_rest_of_the_line_stays() -> None:
    assert secrets.mask_text("postgres://app:hunter2@db:5432/orders ok") == "postgres://app:***@db:5432/orders ok"
    assert secrets.mask_text("Authorization: Bearer abc123 status=200") == "Authorization: Bearer *** status=200"
    assert secrets.mask_text('{"password": "p w d", "user": "bob"}') == '{"password": "***", "user": "bob"}'
    assert secrets.mask_text("root:x1@tcp(db:3306)/o") == "root:***@tcp(db:3306)/o"


@pytest.mark.parametrize(
    "name",
    words(
        "PASSWORD DB_PASSWORD dbPassword MYSQL_PWD AWS_SECRET_ACCESS_KEY STRIPE_KEY API_KEY apiKey GITHUB_TOKEN SECRET "
        "JWT_SECRET SESSION_SECRET ENCRYPTION_KEY GOOGLE_CREDENTIALS REDIS_PASS NPM_TOKEN private-key"
    ),
)
def test_secret_names(name: str) -> None:
    assert secrets.is_secret_name(name)
    assert secrets.mask_value(name, "x1y2z3") == secrets.MASK


@pytest.mark.parametrize(
    "name",
    words(
        "PATH PWD OLDPWD HOME SSH_AUTH_SOCK XAUTHORITY KEYBOARD TOKENIZER DB_PASSWORD_FILE TOKEN_TTL PUBLIC_KEY "
        "AWS_ACCESS_KEY_ID PASSENGER_APP_ENV GOPATH COMPASS CACHE_KEY AUTHOR GODEBUG key"
    ),
)
def test_names_that_hold_no_secret(name: str) -> None:
    assert secrets.mask_value(name, "/some/value") == "/some/value"


def test_value_of_a_plain_name_is_still_searched() -> None:
    counts: dict[str, int] = {}
    assert secrets.mask_value("DATABASE_URL", "postgres://a:b1@c/d", counts) == "postgres://a:***@c/d"
    assert counts == {"url-password": 1}
    assert secrets.mask_value("ENABLE_TOKEN", "true") == "true"


def test_argv() -> None:
    argv = [
        "/bin/app",
        "--password",
        "hunter2",
        "--port",
        "80",
        "--token=abc",
        "-H",
        "X-Api-Key: q1",
        "--secret-file",
        "/x",
    ]
    counts: dict[str, int] = {}
    masked = secrets.mask_argv(argv, counts)
    assert masked == [
        "/bin/app", "--password", "***", "--port", "80", "--token=***", "-H", "X-Api-Key: ***", "--secret-file", "/x",
    ]  # fmt: skip
    assert sum(counts.values()) == 3
    assert secrets.mask_argv(["curl", "-u", "bob:pw", "http://x"]) == ["curl", "-u", "***", "http://x"]
    assert secrets.mask_argv(["mysql", "-phunter2"]) == ["mysql", "-p***"]
    assert secrets.mask_argv([]) == []


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("/bin/app -secret hunter2 -port 80", "/bin/app -secret *** -port 80"),
        ("/bin/app --password two words -v", "/bin/app --password *** -v"),
        ("/bin/app --token=two words --v", "/bin/app --token=*** --v"),
        ("/bin/app  --token  x1y2  serve", "/bin/app --token ***"),
        ("/bin/app -port 80 serve", "/bin/app -port 80 serve"),
        ("", ""),
    ],
)
def test_a_line_whose_words_are_lost(line: str, masked: str) -> None:
    assert secrets.mask_line(line) == masked


@pytest.mark.parametrize(
    "hostile",
    [
        "a:" * 50_000,
        "://" + "a" * 100_000,
        "://a:" * 20_000,
        "password" * 10_000,
        "password=" * 10_000,
        'password="' * 10_000,
        "password=\\" * 10_000,
        "authorization: " * 8_000,
        "-----BEGIN PRIVATE KEY-----" * 4_000,
        "eyJ" * 30_000,
        "eyJaaaaaaaa." * 8_000,
        "@tcp(" + "a:" * 40_000,
        "--token" * 12_000,
        "-token " * 12_000,
        '-token "' * 12_000,
        "bearer " * 12_000,
        " " * 100_000 + "=",
        "token" + " " * 100_000 + "=x",
    ],
    ids=range(18),
)
def test_hostile_text_ends(hostile: str) -> None:
    assert isinstance(secrets.mask_text(hostile), str)


def test_version_is_a_plain_number() -> None:
    assert re.fullmatch(r"[0-9]+", secrets.VERSION)
