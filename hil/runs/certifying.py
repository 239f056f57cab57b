"""`voltbench certificate`: make a pair for OPC UA, show a certificate, make the line of a user."""

import argparse
import sys
from pathlib import Path
from typing import Any

DUTIES = ("viewer", "operator", "dso")


def add_command(commands: Any) -> None:
    """Add the command to the parser's commands."""
    top = commands.add_parser("certificate", help="OPC UA: make a certificate and key, show one, add a user")
    acts = top.add_subparsers(dest="act", required=True, metavar="make|show|user")
    make = acts.add_parser("make", help="a self-signed certificate (NAME.der) and its key (NAME.key.pem, mode 0600)")
    make.add_argument("name")
    make.add_argument("--uri", required=True, help="application URI that is yours alone, e.g. urn:dso.example:room1")
    make.add_argument("--host", action="append", default=[], help="name or address of the machine; may be given again")
    make.add_argument("--days", type=int, default=365, help="how long it is valid; default 365")
    make.add_argument("--out", metavar="DIR", default=".", help="default the present folder")
    show = acts.add_parser("show", help="whose a certificate is, its thumbprint, and how long it is valid")
    show.add_argument("file")
    user = acts.add_parser("user", help="the line of a user for the file that opcua.users names; password on stdin")
    user.add_argument("name")
    user.add_argument("--duty", choices=DUTIES, default="viewer")


def certificate(arguments: argparse.Namespace) -> int:
    """Carry the command out: 0 done, 1 a shown certificate is not valid now, 2 what was asked for is not possible."""
    from instruments.opcua_certificate import CertificateError

    try:
        return {"make": _make, "show": _show, "user": _user}[arguments.act](arguments)
    except CertificateError as error:
        print(f"voltbench: {error}", file=sys.stderr)
        return 2


def _make(arguments: argparse.Namespace) -> int:
    from instruments.opcua_certificate import make_certificate, utc_now

    paths = make_certificate(
        Path(arguments.out), arguments.name, arguments.uri, arguments.host, utc_now(), arguments.days
    )
    print(*paths, sep="\n")
    print("give the peer the .der file; the key stays here", file=sys.stderr)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from instruments.opcua_certificate import described, hosts_of, read_certificate, uris_of, utc_now

    found = read_certificate(Path(arguments.file), "certificate")
    now, ends = utc_now(), found.not_valid_after_utc
    print(described(found))
    print(f"application URI {', '.join(uris_of(found)) or 'none'}; hosts {', '.join(hosts_of(found)) or 'none'}")
    print(
        f"valid {found.not_valid_before_utc:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC: {(ends - now).days} days left"
    )
    return 0 if found.not_valid_before_utc <= now <= ends else 1


def _user(arguments: argparse.Namespace) -> int:
    import getpass

    from instruments.opcua_accounts import account_line
    from instruments.opcua_certificate import CertificateError

    given = getpass.getpass("password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not given or ":" in arguments.name:
        raise CertificateError("a name without a colon and a password on stdin are needed")
    print(account_line(arguments.name, arguments.duty, given))
    return 0
