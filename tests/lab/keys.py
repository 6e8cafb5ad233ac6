# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Everything secret or trusted of a lab: certificate authority, passwords, SSH keys. Made once, files 0600."""

from __future__ import annotations

import os
import secrets
import string
from collections.abc import Mapping
from pathlib import Path

from tests.lab.shell import run

_DAYS = "3650"


def write_private(path: Path, content: str) -> bool:
    """Write a file that only its owner reads, whole or not at all; return whether that changed it."""
    if path.exists() and path.read_text() == content and path.stat().st_mode & 0o777 == 0o600:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    temporary.replace(path)
    return True


def ensure_password(path: Path) -> str:
    """Read the password in this file, made first where there is none."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24) + "\n")
    return path.read_text().strip()


def bcrypt(password: str) -> str:
    """Hash a password the way an htpasswd file for the registry wants it; it travels on standard input only."""
    alphabet = f"./{string.ascii_letters}{string.digits}"
    salt = "".join(secrets.choice(alphabet) for _index in range(21))
    # Python 3.13 has no crypt any more; every Debian has perl-base, and libcrypt knows bcrypt
    program = "chomp(my $p = <STDIN>); chomp(my $s = <STDIN>); print crypt($p, $s)"
    return run(["perl", "-e", program], input_text=f"{password}\n$2b$05${salt}.\n").stdout


def ensure_ssh_key(path: Path, comment: str) -> str:
    """Make an ed25519 key pair unless it exists; return the public key without its comment."""
    if not path.with_name(path.name + ".pub").exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)  # half of a pair, from a run that was killed
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


def make_key(path: Path) -> None:
    """Make a private key on the curve P-256 (PEM, without a password)."""
    key = run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]).stdout
    write_private(path, key)


def ensure_authority(folder: Path, name: str) -> tuple[Path, Path]:
    """Make the certificate authority of a lab; return its certificate and its key."""
    certificate, key = folder / "ca.crt", folder / "ca.key"
    if not certificate.exists() or not key.exists():
        make_key(key)
        command = ["openssl", "req", "-x509", "-new", "-key", str(key), "-sha256", "-days", _DAYS]
        command += ["-subj", f"/CN=billing lab {name}", "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0"]
        command += ["-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", str(certificate)]
        run(command)
    return certificate, key


def ensure_certificate(
    folder: Path, authority: tuple[Path, Path], stem: str, names: Mapping[str, str]
) -> tuple[Path, Path]:
    """Make a server certificate signed by the lab's authority.

    Args:
        folder: where ``STEM.crt`` and ``STEM.key`` lie.
        authority: certificate and key to sign with.
        stem: name of the files and of the subject.
        names: what the certificate stands for, name -> kind (``DNS`` or ``IP``). Other names make a new certificate.
    """
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key, request = (folder / f"{stem}.{ending}" for ending in ("crt", "key", "cnf"))
    alternatives = ",".join(f"{kind}:{name}" for name, kind in names.items())
    extensions = (
        "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
        f"subjectAltName={alternatives}\n"
    )
    if certificate.exists() and request.exists() and request.read_text() == extensions:
        return certificate, key
    certificate.unlink(missing_ok=True)
    make_key(key)
    request.write_text(extensions)
    signing = run(["openssl", "req", "-new", "-key", str(key), "-subj", f"/CN={stem}"]).stdout
    command = [
        "openssl",
        "x509",
        "-req",
        "-CA",
        str(authority[0]),
        "-CAkey",
        str(authority[1]),
        "-days",
        _DAYS,
        "-sha256",
    ]
    command += ["-set_serial", str(secrets.randbits(120)), "-extfile", str(request), "-out", str(certificate)]
    run(command, input_text=signing)
    return certificate, key
