"""Why a database cannot be reached or entered: one finding for what a driver raised on connecting. Guards I9.

Known causes get their own words; the rest passes the driver's first line on. None of these messages holds a password, and
if a driver ever quoted one it would be cut out here.
"""

from __future__ import annotations

import socket
import ssl
from typing import Final

import psycopg
import pymysql

from cdc.doctor.facts import Wish
from cdc.doctor.finding import Finding
from cdc.doctor.server_checks import wrong_engine
from cdc.doctor.speaks import speaks
from cdc.quoting import literal, quote

UNKNOWN_VARIABLE: Final = 1193  # of the session's first statement: the other one of MySQL and MariaDB
_TLS_WORDS: Final = ("SSL", "TLS", "certificate", "root.crt")


def explain(wish: Wish, error: Exception) -> Finding:
    """One finding for an error of connecting; its code is UNREACHABLE, LOGIN_REFUSED, DATABASE_MISSING, TLS, or WRONG_ENGINE."""
    if isinstance(error, psycopg.Error):
        found = _postgresql(wish, " ".join(str(error).split()))
    elif isinstance(error, pymysql.err.MySQLError):
        found = _mysql(wish, error)
    elif isinstance(error, ssl.SSLError | OSError):
        found = _tls_file(wish, error)
    else:
        raise error
    if found is not None:
        return _without_password(wish, found)
    actual = speaks(wish.address.host, wish.address.port)
    other = {"mysql", "mariadb"} if wish.address.engine in ("mysql", "mariadb") else {"postgresql"}
    if actual is not None and actual not in other:
        return wrong_engine(wish, actual)
    return _without_password(wish, _unreachable(wish, error))


def _mysql(wish: Wish, error: pymysql.err.MySQLError) -> Finding | None:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    cause = getattr(error, "original_exception", None)
    user, place = wish.address.user, _place(wish)
    if isinstance(cause, ssl.SSLError):
        return _tls(wish, _certificate(wish, cause))
    if code == 2026:
        return _tls(wish, "the server offers no TLS")
    if code == 3159 or "insecure transport" in text:
        return _tls(
            wish, "the server takes connections with TLS only", f"channels.{wish.channel}.tls: {{ca: /path/to/ca.pem}}"
        )
    if code in (1045, 1698, 3118, 4151, 1820, 1862):
        return _login(wish, {
            3118: f"account {user} is locked", 4151: f"account {user} is locked",
            1820: f"the password of {user} has expired", 1862: f"the password of {user} has expired",
        }.get(code, f"{place} refuses user {user} with this password"))  # fmt: skip
    if code in (1129, 1130):
        return _login(wish, f"{place} does not let {user} in from this host ({code})")
    if code in (1044, 1049):
        return _database(wish, f"database {wish.address.database} does not exist, or {user} may not see it")
    if code in (1251, 2059, 2061):
        return _login(
            wish, f"{place} wants an authentication method for {user} that this client does not have ({code})"
        )
    return None


def _postgresql(wish: Wish, text: str) -> Finding | None:
    """A refused connection carries no SQLSTATE in psycopg 3: the words decide, and an unknown language falls through."""
    user, place, lower = wish.address.user, _place(wish), text.lower()
    if "does not support ssl" in lower:
        return _tls(wish, "the server offers no TLS")
    if "does not match host name" in lower:
        return _tls(wish, f"the server's certificate is not for {wish.address.host}")
    if "certificate verify failed" in lower:
        return _tls(wish, f"the server's certificate is not signed by {_ca(wish)}, or has expired")
    if (
        "root certificate file" in lower
        or "could not read root" in lower
        or "certificate file" in lower
        or "private key" in lower
    ):
        return _tls(wish, f"cannot read the files of tls ({_ca(wish)})")
    if "no pg_hba.conf entry" in lower:
        encrypted = "no encryption" not in lower and "ssl off" not in lower
        if not encrypted and wish.address.tls is None:
            hint = f"channels.{wish.channel}.tls: {{ca: /path/to/ca.pem}}"
            return _tls(wish, f"{place} has no pg_hba.conf entry for {user} without TLS", hint)
        line = f"pg_hba.conf: {'hostssl' if encrypted else 'host'} {wish.address.database} {user} <this host>/32 scram-sha-256"
        return _login(wish, f"{place} has no pg_hba.conf entry for {user} from this host", line)
    if "authentication failed" in lower or "no password supplied" in lower:
        return _login(wish, f"{place} refuses user {user} with this password")
    if "role" in lower and "does not exist" in lower:
        return _login(wish, f"{place} knows no role {user}")
    if "not permitted to log in" in lower:
        return _login(wish, f"role {user} may not log in", f"ALTER ROLE {quote('postgresql', user)} LOGIN;")
    if "permission denied for database" in lower:
        grant = (
            f"GRANT CONNECT ON DATABASE {quote('postgresql', wish.address.database)} TO {quote('postgresql', user)};"
        )
        return _login(wish, f"{user} may not connect to database {wish.address.database}", grant)
    if "database" in lower and "does not exist" in lower:
        return _database(wish, f"database {wish.address.database} does not exist")
    return None


def _tls_file(wish: Wish, error: OSError) -> Finding | None:
    """Reading the certificates failed, before any connection."""
    if wish.address.tls is None or isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        return None
    if isinstance(error, ssl.SSLError):
        return _tls(
            wish, f"cannot read the files of tls ({_ca(wish)}): not a PEM file, or a key of another certificate"
        )
    return _tls(wish, f"cannot read the files of tls ({_ca(wish)}): {error.strerror or type(error).__name__}")


def _certificate(wish: Wish, error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        message = (error.verify_message or "").rstrip(".")
        if error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH (openssl, x509_vfy.h)
            return f"the server's certificate is not for {wish.address.host}"
        if error.verify_code == 10:  # X509_V_ERR_CERT_HAS_EXPIRED
            return "the server's certificate has expired"
        return f"the server's certificate is not signed by {_ca(wish)} ({message})"
    return f"the TLS handshake failed ({error.reason or type(error).__name__})"


def _tls(wish: Wish, what: str, mend: str = "") -> Finding:
    path = f"channels.{wish.channel}.tls"
    usual = f"{path}: a ca that signed the server's certificate, and a url with the name that it is for"
    return wish.finding("TLS", "error", f"{_place(wish)}: {what}", [mend or usual], path=path)


def _login(wish: Wish, what: str, mend: str = "") -> Finding:
    return wish.finding("LOGIN_REFUSED", "error", what, [mend or f"{wish.path}: the right user and password"])


def _database(wish: Wish, what: str) -> Finding:
    user, database = wish.address.user, wish.address.database
    if wish.address.engine == "postgresql":
        mend = [f"{wish.path}: the name of a database that exists"]
    else:
        grant = f"GRANT SELECT ON {quote('mysql', database)}.* TO {literal(user)}@'%';"
        mend = [f"{wish.path}: the name of a database that exists, or", grant]
    return wish.finding("DATABASE_MISSING", "error", f"{_place(wish)}: {what}", mend)


def _unreachable(wish: Wish, error: Exception) -> Finding:
    cause = getattr(error, "original_exception", None) or error
    if isinstance(cause, socket.gaierror):
        what = f"no such host: {wish.address.host}"
    elif isinstance(cause, ConnectionRefusedError):
        what = "nothing listens there"
    elif isinstance(cause, TimeoutError):
        what = "no answer"
    else:
        what = " ".join(str(error.args[-1] if error.args else error).split())[:300] or type(error).__name__
    mend = f"{wish.path}: the right host and port, and a server that runs"
    return wish.finding("UNREACHABLE", "error", f"cannot connect to {_place(wish)}: {what}", [mend])


def _place(wish: Wish) -> str:
    return f"{wish.address.host}:{wish.address.port}"


def _ca(wish: Wish) -> str:
    return wish.address.tls.ca if wish.address.tls else "the system's authorities"


def _without_password(wish: Wish, finding: Finding) -> Finding:
    password = wish.address.password
    if len(password) < 3 or password not in finding.text:
        return finding
    return wish.finding(
        finding.code, finding.severity, finding.text.replace(password, "***"), finding.mend, path=finding.path
    )
