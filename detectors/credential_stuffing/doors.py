"""What stands behind a token, and what is a login? It decides what a failure says that names nobody.

Gateways log no name where a token is missing or wrong, and none where a login takes its name from the body. A door that
opens to callers with a token is no login; one that has opened to callers without is not behind a token. So the same
401, again and again, guesses a password at ``/login``, and is a client with a dead token at ``/v1/models``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import AuthCode, kernel, mix

from .constants import DOORS

U64 = np.uint64
_UNKNOWN, _SUCCESS = int(AuthCode.UNKNOWN), int(AuthCode.SUCCESS)
_TOKEN, _OPEN = 0, 1


def no_doors() -> npt.NDArray[np.uint64]:
    """(2, DOORS) hashes of what opened with a token, and without; whatever comes later takes the place."""
    return np.zeros((2, DOORS), np.uint64)


@kernel(inline=True)
def place_of(common: Any, row: Any) -> np.uint64:
    """Stands for the name where there is none: a hash of what was asked for, if that is known."""
    base = row.k_endpoint if row.k_endpoint != U64(0) else row.k_path
    return mix(common.no_name, base) if base != U64(0) else common.no_name


@kernel(inline=True)
def note_door(row: Any, doors: npt.NDArray[np.uint64], common: Any, place: np.uint64) -> None:
    """A row that was served tells what its place is."""
    if place == common.no_name:
        return
    at = int(place & U64(DOORS - 1))
    if row.k_account != U64(0):
        if row.auth == _SUCCESS:
            doors[_OPEN, at] = place
    elif row.k_principal != U64(0) or row.k_credential != U64(0):
        if row.auth == _SUCCESS:
            doors[_TOKEN, at] = place
    elif row.auth == _SUCCESS or (row.auth == _UNKNOWN and 200 <= row.status < 400):
        doors[_OPEN, at] = place


@kernel
def wants_token(doors: npt.NDArray[np.uint64], common: Any, place: np.uint64) -> bool:
    """Whether the place opens with a token, and never without."""
    at = int(place & U64(DOORS - 1))
    return bool(place != common.no_name and doors[_TOKEN, at] == place and doors[_OPEN, at] != place)
