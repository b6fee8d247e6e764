"""The cells, the data folder and the store of records that the options select."""

from __future__ import annotations

from pathlib import Path

from suite.config.cell import Cell
from suite.config.profile import expand, load_profile
from suite.core.errors import UserError
from suite.records.store import Store


def profile_name(options: dict) -> str:
    """Return the name of the profile, also if the option names its file."""
    profile = options["profile"]
    return Path(profile).stem if profile.endswith(".toml") else profile


def store(options: dict) -> Store:
    """Return the store of the profile's records, which may have none yet."""
    return Store(options["results"], profile_name(options))


def store_with_records(options: dict) -> Store:
    """Return the store of the profile's records; raise `UserError` if there are none."""
    found = store(options)
    if not found.folder.is_dir():
        raise UserError(f"there are no records in {str(found.folder)!r}; run the profile first.")
    return found


def data_folder(options: dict) -> Path | None:
    """Return the folder of data sets; raise `UserError` if it does not exist."""
    data = options["data"]
    if data is not None and not data.is_dir():
        raise UserError(f"the data folder {str(data)!r} is not an existing folder.")
    return data


def cells(options: dict, kinds: list[str], cores: int) -> list[Cell]:
    """Return the cells of the profile that the options leave.

    Args:
        options: options of the group.
        kinds: resolved kinds of device.
        cores: number of cores that a CPU cell may use.

    Raises:
        UserError: no cell is left.
    """
    selected = expand(
        load_profile(options["profile"]),
        kinds,
        cores,
        threads=options["threads"],
        shards=options["processes"],
        algorithms=options["algorithms"],
        tasks=options["tasks"],
        seeds=options["seeds"],
        engine=options["engine"],
        outer_steps=options["outer_steps"],
    )
    if not selected:
        raise UserError("no cell of the profile is left; loosen --algorithms or --tasks.")
    return selected
