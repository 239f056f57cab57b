"""Find node with npm's ocpp-rpc (set NODE_PATH to a folder that holds it); skip the test where it is not installed."""

import shutil
import subprocess

import pytest


def node() -> str:
    """Return the path of node where it finds ocpp-rpc."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed")
    if subprocess.run([found, "-e", "require('ocpp-rpc')"], capture_output=True).returncode != 0:
        pytest.skip("npm package ocpp-rpc is not installed (NODE_PATH)")
    return found
