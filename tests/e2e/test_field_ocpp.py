"""The field stage over OCPP, against points in another process that dial in with their passwords."""

import contextlib
import json
import subprocess
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("ocpp", reason="the extra ocpp is not installed")
pytest.importorskip("websockets", reason="the extra ocpp is not installed")

from commandline import ENVIRONMENT, VOLTBENCH, toml_text
from field_site import emulate, field_rig, site_of

from controller.runtime.ledger import LedgerReader
from instruments.ocpp_security import hash_password
from profiles.feeder import load_feeder

pytestmark = pytest.mark.slow
MODELS = {"cp01": "ocpp16-generic", "cp02": "ocpp201-generic"}
PASSWORDS = {"cp01": "first secret", "cp02": "second secret"}


def voltbench(*arguments, cwd):
    argv = [*VOLTBENCH, *map(str, arguments)]
    return subprocess.run(argv, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=500)


@pytest.fixture
def site(street_text, tmp_path, compiled):
    """Serve two points with a password each; return the path of the site file that lets them in."""
    rig = field_rig(street_text, tuple(MODELS))
    for part in rig["charger"]:
        part |= {"model": MODELS[part["name"]], "failsafe_a": 6.0, "failsafe_s": 20.0}
    clear = tmp_path / "points.passwords"
    clear.touch(0o600)
    clear.write_text("".join(f"{name}:{word}\n" for name, word in PASSWORDS.items()))
    hashed = tmp_path / "points.scrypt"
    hashed.touch(0o600)
    hashed.write_text("".join(f"{name}:{hash_password(word)}\n" for name, word in PASSWORDS.items()))
    rig["csms"] = {"security": 1, "twin_passwords": str(clear), "passwords": str(hashed)}
    started = []
    with contextlib.ExitStack() as stack:
        narration = stack.enter_context((tmp_path / "stderr.txt").open("w"))
        stack.callback(lambda: [(process.terminate(), process.communicate(timeout=120)) for process in started])

        def serve(*arguments):
            argv = [*VOLTBENCH, *map(str, arguments)]
            started.append(
                subprocess.Popen(
                    argv, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=narration, text=True
                )
            )
            return started[-1]

        devices = emulate(serve, tmp_path, rig)
        phase = load_feeder(rig["feeder"]["name"]).loads.phase
        true = {part["name"]: ["abc"[int(phase[part["customer"] - 1])]] for part in rig["charger"]}
        said = site_of(rig, devices, true)
        port = urlsplit(devices["cp01"]["address"]).port
        said["csms"] = {"port": port, "security": 1, "passwords": hashed.name}
        path = tmp_path / "site.toml"
        path.write_text(toml_text(said))
        yield path


def test_points_that_dial_with_their_passwords_are_controlled(site, tmp_path):
    ended = voltbench("control", site, "--for", "12s", "--out", "run", "--json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    versions = {event["identity"]: event["version"] for event in events if event["kind"] == "ocpp_connected"}
    assert versions == {"cp01": "ocpp1.6", "cp02": "ocpp2.0.1"}
    *_, (_, seen, decided) = LedgerReader(tmp_path / "run").scans()  # each has memory of its own
    drawn = np.nanmax(np.nan_to_num(seen.charger_a), axis=1)
    assert seen.charger_link.tolist() == [1, 1] and seen.charger_quality.tolist() == [0, 0]
    assert np.all(decided.allowed_a >= 6.0)
    assert np.all(drawn > 4.0) and np.all(drawn <= np.maximum(decided.allowed_a, 6.0) + 0.5)
    assert np.nanmax(np.abs(seen.charger_limit_a - decided.allowed_a)) < 1.0
