"""Declare the keys by which files and processes say how an OPC UA link is secured, and what we serve ourselves.

They stand flat in `[substation]` and `[opcua]` of rig and site files, and in the site that the processes read.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from instruments.opcua_security import OpcuaSecurity


class OpcuaKeys(BaseModel):
    """Say how a channel is secured: signed and encrypted with a pair of ours and a trust list, or plain on demand."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    security: Literal["sign_and_encrypt", "none"] = Field(
        default="sign_and_encrypt", description="Basic256Sha256 signed and encrypted; none must be asked for"
    )
    certificate: str = Field(default="", description="file of our certificate, DER or PEM; its URI is our application")
    key: str = Field(default="", description="PEM file of its key, mode 0600")
    trust: str = Field(default="", description="folder of the certificates that we trust")
    user: str = Field(default="", description="who logs in; empty: anonymous")
    password_file: str = Field(default="", description="file of the password, mode 0600")

    def opcua(self) -> OpcuaSecurity:
        """Return the keys as the client and the server take them."""
        return OpcuaSecurity(self.security, self.certificate, self.key, self.trust, self.user, self.password_file)

    def login(self) -> dict[str, Any]:
        """Return the keys as they are, for another table that has them."""
        return {key: getattr(self, key) for key in OpcuaKeys.model_fields}


class OpcuaServerPort(OpcuaKeys):
    """Say where the controller serves its state, reasons and alarms by OPC UA, and who may come in."""

    host: str = Field(default="127.0.0.1", description="address to listen at; 0.0.0.0 all")
    port: int = Field(default=4840, ge=0, le=65535, description="TCP; 0 a free one")
    users: str = Field(
        default="", description="file of `name:duty:scrypt$salt$hash` lines, mode 0600; duties viewer, operator, dso"
    )
    anonymous: bool = Field(default=False, description="let clients without a name read")
    rate_hz: float = Field(default=2.0, ge=0.2, le=4.0, description="how often the arrays are written")
