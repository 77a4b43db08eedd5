"""Secrets in outside text, masked before they become part of a record or of a file that is handed on.

Pure functions. The rules run one after the other, the most specific first, so that no rule eats the word that the
next one looks for ("Authorization: Bearer TOKEN" as a plain name and value would leave the token). Every pattern is
linear in the text: bounded or possessive repeats, and starts that a boundary or a literal pins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping, Sequence

VERSION = "1"
"""Version of the rules, as it stands in the header of a redacted recording."""
MASK = "***"

Counts = MutableMapping[str, int]
"""Rule to how many values it masked; functions that take one add to it."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET_WORDS = _words(
    "password passwords passwd passphrase passcode pass pwd secret secrets token tokens apikey apikeys accesskey "
    "secretkey privatekey credential credentials creds jwt bearer cookie authkey hmac pat otp"
)
_KEY_BENIGN = _words(
    "public pub primary sort partition cache routing foreign row group object map index order hot shard join "
    "registry lookup search translation idempotency message"
)
_KEY_SECRET = _words(
    "api access secret private encryption encrypt signing sign master auth service account storage license session "
    "app deploy client shared admin root ssh tls ssl webhook stripe datadog dd"
)
_NOT_THE_VALUE = _words(
    "file files path paths dir directory name names id ids ttl length len size min max count url uri host port type "
    "policy policies expiry expires expiration lifetime timeout enabled required header field prefix rotation issuer "
    "audience bucket limit interval version format hash_cost sock"
)
"""A name that ends so speaks about a secret; it does not hold one: DB_PASSWORD_FILE, TOKEN_TTL."""
_NO_SECRET = frozenset(("", "true", "false", "yes", "no", "on", "off", "null", "none", "nil", "<nil>", MASK))


def is_secret_name(name: str) -> bool:
    """Whether a variable, flag or field of that name holds a secret."""
    words = [word.lower() for word in _WORD.findall(name[:256])]
    if not words or words[-1] in _NOT_THE_VALUE or name in ("PWD", "OLDPWD"):
        return False
    if _SECRET_WORDS.intersection(words):
        return words != ["pwd"] or name == "pwd"
    if words[-1] in ("key", "keys") and len(words) > 1:
        if _KEY_SECRET.intersection(words):
            return not {"public", "pub"}.intersection(words)
        return name.isupper() and not _KEY_BENIGN.intersection(words)
    return False


def mask_value(name: str, value: str, counts: Counts | None = None) -> str:
    """The value of a variable: masked whole when the name is a secret's, else with the secrets inside it masked."""
    if is_secret_name(name):
        if value.strip().lower() in _NO_SECRET:
            return value
        _count(counts, "name")
        return MASK
    return mask_text(value, counts)


def mask_argv(argv: Sequence[str], counts: Counts | None = None) -> list[str]:
    """An argument vector with secrets masked, also where the value is the next argument: --password VALUE."""
    masked, follows = [], False
    tool = argv[0].rsplit("/", 1)[-1] if argv else ""
    for place, word in enumerate(argv):
        if follows and not word.startswith("--"):
            masked.append(mask_value("password", word, counts))
            follows = False
            continue
        flag, equals, value = word.partition("=")
        follows = _takes_secret(tool, word) if place else False
        if place and equals and flag.startswith("-"):
            masked.append(f"{flag}={mask_value(flag.lstrip('-'), value, counts)}")
        elif place and tool in ("mysql", "mysqldump", "mysqladmin") and word.startswith("-p") and len(word) > 2:
            _count(counts, "flag")
            masked.append("-p" + MASK)
        else:
            masked.append(mask_text(word, counts))
    return masked


def _takes_secret(tool: str, word: str) -> bool:
    """Whether the argument after this flag is a secret."""
    if tool in ("curl", "wget") and word in ("-u", "--user", "-U", "--proxy-user"):
        return True
    return word.startswith("-") and "=" not in word and is_secret_name(word.lstrip("-"))


def mask_line(text: str, counts: Counts | None = None) -> str:
    """A command line whose words are known no more, such as `systemctl show` gives: after a flag of a secret all up
    to the next flag is masked, for the value may have held spaces."""
    words: list[str] = []
    follows = False
    for word in mask_argv(text.split(), counts):
        if follows and not word.startswith("-"):
            continue
        follows = word == MASK or (word.startswith("-") and word.endswith(f"={MASK}"))
        words.append(word)
    return " ".join(words)


def suspicious(text: bytes) -> bool:
    """Whether any rule may find something in these bytes; a third of a microsecond for a log line that has nothing.

    A text of which this says no has no secret that `mask_text` or `mask_value` would find.
    """
    return _SUSPECT_BYTES(text.lower()) is not None


def mask_text(text: str, counts: Counts | None = None) -> str:
    """Free text (a log line, a message, a value) with the secrets in it masked. Time is linear in the length."""
    low = text.lower()
    if _SUSPECT(low) is None:
        return text
    for name, hint, rule in _RULES:
        if hint.search(low):
            text = rule(text, lambda name=name: _count(counts, name))  # type: ignore[misc]  # binds the name of now
    return text


def _count(counts: Counts | None, rule: str) -> None:
    if counts is not None:
        counts[rule] = counts.get(rule, 0) + 1


Hit = Callable[[], None]

_PEM_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")


def _pem(text: str, hit: Hit) -> str:
    """Private key blocks, up to their end line or the end of the text."""
    parts, start = [], 0
    while begin := _PEM_BEGIN.search(text, start):
        hit()
        parts += [text[start : begin.end()], MASK]
        end = _PEM_END.search(text, begin.end())
        if end is None:
            return "".join(parts)
        parts.append(end[0])
        start = end.end()
    return "".join((*parts, text[start:]))


_AUTHORIZATION = re.compile(
    r"""(?i)\b((?:proxy-)?authorization\\?["']?\s{0,4}[:=]\s{0,4}\[?\\?["']?)"""
    r"""(?:((?:digest|aws4-hmac-sha256|oauth)\s{1,4})([^\r\n]++)|((?:[a-z][a-z0-9-]{2,20}\s{1,4})?)([^\s"',;\\\]]++))"""
)


def _authorization(text: str, hit: Hit) -> str:
    def put(match: re.Match[str]) -> str:
        hit()
        return f"{match[1]}{match[2] or match[4] or ''}{MASK}"

    return _AUTHORIZATION.sub(put, text)


_BEARER = re.compile(r"(?i)\b(bearer\s{1,4})(?=[^\s\d]{0,200}\d)[a-z0-9._~+/=-]{8,}+")
_COOKIE = re.compile(r"""(?i)\b((?:set-)?cookie\\?["']?\s{0,4}:\s{0,4}\[?\\?["']?)([^"'\r\n\\\]]++)""")
_USERINFO = re.compile(r"""(://[^\s/@:"'<>]{0,256}:)([^\s"'<>,;]{1,512}+)""")
_GO_DSN = re.compile(r"""(?<![^\s"'=])([^\s:@/"'=]{1,64}:)([^\s"']{1,256}?)(@(?:tcp|udp|unix)6?\()""")


def _keep_first(pattern: re.Pattern[str]) -> Callable[[str, Hit], str]:
    """A rule that keeps group 1 and masks the rest."""

    def rule(text: str, hit: Hit) -> str:
        def put(match: re.Match[str]) -> str:
            hit()
            tail = match[3] if match.re.groups > 2 else ""
            return f"{match[1]}{MASK}{tail}"

        return pattern.sub(put, text)

    return rule


def _userinfo(text: str, hit: Hit) -> str:
    """scheme://user:password@host, also when the password holds an unescaped "@" or "/"."""

    def put(match: re.Match[str]) -> str:
        rest = match[2]
        authority, slash, _ = rest.partition("/")
        if "@" in authority:
            secret = authority[: authority.rindex("@")]
        elif slash and "@" in rest and not authority.split("?")[0].isdigit():
            secret = rest[: rest.rindex("@")]
        else:
            return match[0]
        if secret in ("", MASK):
            return match[0]
        hit()
        return f"{match[1]}{MASK}{rest[len(secret) :]}"

    return _USERINFO.sub(put, text)


_SHAPES = re.compile(
    r"""(?<![A-Za-z0-9_-])(?:gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_\w{40,255}|glpat-[\w-]{20,64}|xox[abeprs]-[\w-]{10,255}"""
    r"""|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{35}|(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,255}|sk-[A-Za-z0-9_-]{20,255}"""
    r"""|whsec_[A-Za-z0-9+/=]{16,255}|npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,255}|dckr_pat_[\w-]{20,64}|hv[sb]\.[\w-]{20,255}"""
    r"""|SG\.[\w-]{16,32}\.[\w-]{16,64}|ya29\.[\w-]{20,255}|AGE-SECRET-KEY-1[A-Z0-9]{40,80}"""
    r"""|eyJ[\w-]{8,4096}\.eyJ[\w-]{2,8192}\.[\w-]{0,1024})"""
)
_WEBHOOK = re.compile(r"(hooks\.slack\.com/services/)([\w/]{10,200})")


def _shapes(text: str, hit: Hit) -> str:
    def put(match: re.Match[str]) -> str:
        hit()
        kept = re.match(r"[A-Za-z0-9]{2,6}[_.-]|(?:AKIA|ASIA|AIza)", match[0])
        return (kept[0] if kept and not match[0].startswith("eyJ") else "") + MASK

    return _SHAPES.sub(put, text)


_NAME = re.compile(r"""(?<![\w.-])(-{0,2}[A-Za-z_][\w.-]*+)(\\{0,3}["']?\s{0,4}[:=]>?\s{0,4})""")
_VALUE = re.compile(
    r"""\\{1,3}"[^"\\]{0,4096}+|"(?:[^"\\]|\\.){0,8192}+"?|'[^']{0,8192}+'?|\[[^\]\s]{1,4096}+\]|[^\s,;&}\])"'\[{][^\s,;&})"']{0,4096}+"""
)
_FLAG = re.compile(
    r"""(?<![\w-])(--?[A-Za-z][\w.-]{1,63}+)"""
    r"""(?:( {1,4})("[^"]{0,1024}+"?|'[^']{0,1024}+'?|[^\s-][^\s]{0,1024}+)"""
    r"""|(\\?["'],? {0,2}\\?["'])([^"'\\]{1,1024}+))"""
)
"""A flag of a secret and its value as the next word, also as two strings of a list: -token abc, ["--token", "abc"]."""
_PLAIN_WORD = re.compile(r"[a-z]{1,14}[.!?:]?$")


def _named(text: str, hit: Hit) -> str:
    """name=value, name: value and "name": "value", where the name is a secret's."""
    parts, done, at = [], 0, 0
    while named := _NAME.search(text, at):
        at = named.end()
        if not is_secret_name(named[1]):
            continue
        found = _VALUE.match(text, at)
        if found is None or _is_no_secret(named[1], named[2], found[0]):
            continue
        hit()
        value = found[0]
        head = value[: len(value) - len(value.lstrip("\\\"'"))]
        tail = value[len(value.rstrip("\\\"'")) :] if head else ""
        parts += [text[done:at], head, MASK, tail]
        done = at = found.end()
    return "".join((*parts, text[done:]))


def _is_no_secret(name: str, between: str, value: str) -> bool:
    return value.strip("\\\"'").lower() in _NO_SECRET or _is_prose(name, between, value)


def _is_prose(name: str, between: str, value: str) -> bool:
    """ "invalid token: expected a name": words after a colon and a space, of a name that is no password."""
    if "=" in between or '"' in between or "'" in between or value[0] in "\"'\\":
        return False
    return "pass" not in name.lower() and _PLAIN_WORD.match(value) is not None


def _flags(text: str, hit: Hit) -> str:
    def put(match: re.Match[str]) -> str:
        value = match[3] or match[5]
        if value.lower() in _NO_SECRET or not is_secret_name(match[1].lstrip("-")):
            return match[0]
        hit()
        return f"{match[1]}{match[2] or match[4]}{MASK}"

    return _FLAG.sub(put, text)


_QUERY = re.compile(
    r"""(?i)([?&](?:sig|signature|x-amz-signature|x-goog-signature|code|sid|key)=)([^&\s"'#]{1,2048}+)"""
)


_RULES: tuple[tuple[str, re.Pattern[str], Callable[[str, Hit], str]], ...] = (
    ("private-key", re.compile("private key"), _pem),
    ("authorization", re.compile("authorization"), _authorization),
    ("bearer", re.compile("bearer"), _keep_first(_BEARER)),
    ("cookie", re.compile("cookie"), _keep_first(_COOKIE)),
    ("url-password", re.compile("://"), _userinfo),
    ("dsn-password", re.compile(r"@(?:tcp|udp|unix)6?\("), _keep_first(_GO_DSN)),
    (
        "token",
        re.compile(
            r"gh[pousr]_|github_pat_|glpat-|xox|akia|asia|aiza|[sr]k[_-]|whsec_|npm_|pypi-|dckr_|hv[sb]\.|sg\.|ya29\.|age-|eyj"
        ),
        _shapes,
    ),
    ("webhook", re.compile(r"hooks\.slack"), _keep_first(_WEBHOOK)),
    ("query", re.compile(r"[?&](?:sig|x-|code|sid|key)"), _keep_first(_QUERY)),
    ("flag", re.compile(r"(?<![\w-])--?[a-z]"), _flags),
    ("name", re.compile(r"pass|pwd|secret|token|key|cred|jwt|bearer|cookie|hmac|pat|otp"), _named),
)
"""Name, what the text in lower case must hold for the rule to find anything, and the rule."""
RULES = tuple(name for name, _, _ in _RULES)
"""Names of the rules, in the order in which they run."""

_SUSPECTS = (
    r"p(?:ass|at(?![cehit])|ypi|(?<=otp))",
    r"w(?:d(?<=pwd)|t(?<=jwt)|hsec)",
    r"c(?:re[dt]|(?<=hmac))",
    r"k(?:e[ny]|ie(?<=cookie)|ia(?<=akia)|r_|s\.slack|[_-](?<=[rs]k.))",
    r"bearer",
    r"z(?:(?<=authoriz)|a(?<=aiza))",
    r"v(?:ate key|[bs]\.(?<=hv.\.))",
    r"@",
    r"_(?:(?<=gh[oprsu]_)|(?<=npm_))",
    r"xox",
    r"sia(?<=asia)",
    r"g\.(?<=sg\.)",
    r"ya29",
    r"j(?<=eyj)",
    r"\?(?:sig|x-|code|sid)",
    r"&(?:sig|x-|code|sid)",
    r"\\u00",
)
"""What the rules look for, in lower case, each from a rare letter of it on: Python's re skips all other letters at
once as long as every alternative begins with a literal. "@" stands for passwords in addresses, "\\u00" for what JSON
may have written otherwise."""
_SUSPECT = re.compile("|".join(_SUSPECTS)).search
_SUSPECT_BYTES = re.compile("|".join(_SUSPECTS).encode()).search
