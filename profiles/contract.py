"""Load contracts: who may draw how much, when, by which clock. A contract is data with its source.

Each family of kinds is a module beside this one that names its models in `Kinds`; a new family joins `AnyContract`.
"""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from profiles import contract_calls, contract_doe, contract_group, contract_lpc, contract_par14a, contract_windows
from profiles.errors import ProfileError

HERE = Path(__file__).parent / "contracts"
_KEPT: ContextVar[Path | None] = ContextVar("kept", default=None)

AnyContract = (
    contract_windows.Kinds
    | contract_calls.Kinds
    | contract_par14a.Kinds
    | contract_lpc.Kinds
    | contract_group.Kinds
    | contract_doe.Kinds
)
READER: TypeAdapter[AnyContract] = TypeAdapter(Annotated[AnyContract, Field(discriminator="kind")])


def bundled_contracts() -> list[str]:
    """Return the names of the bundled contracts, sorted."""
    return sorted(path.stem for path in HERE.glob("*.toml"))


def contract_path(name: str) -> Path:
    """Return the file of a contract: the one kept with a run that is read, else by path, else a bundled one."""
    folder = _KEPT.get()
    if folder is not None and (kept := folder / kept_name(name)).is_file():
        return kept
    return Path(name) if name.endswith(".toml") else HERE / f"{name}.toml"


def kept_name(name: str) -> str:
    """Return the file name under which a run keeps a contract; the folder is part of it, so that no two share one."""
    return name.removesuffix(".toml").replace("/", "_").replace("\\", "_") + ".toml"


@contextmanager
def kept_contracts(folder: Path) -> Iterator[None]:
    """Read contracts from `folder` where it has them: what a run was held to, whatever its file says today."""
    token = _KEPT.set(folder)
    try:
        yield
    finally:
        _KEPT.reset(token)


def load_contract(name: str) -> AnyContract:
    """Load a bundled contract by name, or one by the path of its TOML file; ProfileError tells file:key."""
    path = contract_path(name)
    if not path.is_file():
        raise ProfileError(f"no contract {name!r}; bundled: {', '.join(bundled_contracts())}")
    try:
        return READER.validate_python(tomllib.loads(path.read_text()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path.name}: not a TOML file: {error}") from error
    except ValidationError as error:
        raise ProfileError("\n".join(f"{path.name}:{_explain(e)}" for e in error.errors())) from error


def _explain(error: Any) -> str:
    """Return what is wrong at which key; the kind, which stands first in its place, is no key."""
    where = [str(part) for part in error["loc"][1:]]
    given = "" if isinstance(error["input"], dict) else f" = {error['input']!r}"
    return f"{'.'.join(where) or 'kind'}{given}: {error['msg'].removeprefix('Value error, ')}"
