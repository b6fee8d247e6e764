"""Common base of algorithms and tasks: constant, validated, recorded parameters."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from suite.core.errors import UserError, unknown

M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """A frozen object with checked fields: unknown keys are errors, and no type is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def added_field(default: Any, **constraints: Any) -> Any:
    """Return a field that was added after results were published.

    Its default value is left out of every description, so that older records keep their names.
    """
    return Field(default, exclude_if=lambda value: value == default, **constraints)


class Component(Strict):
    """A registered component. Its fields are its identity; its constructor only sets them."""

    name: ClassVar[str] = ""
    #: Name in a text; its registered name if it has no other.
    title: ClassVar[str] = ""
    #: Keys of the papers to cite for it, as in the published numbers.
    papers: ClassVar[tuple[str, ...]] = ()
    #: Version of its numbers: a change that moves them raises it, and voids the records that used
    #: the component, no others.
    version: ClassVar[int] = 1

    def identity(self) -> dict[str, Any]:
        """Return the JSON description from which an equal component can be built."""
        return {"name": self.name, **self.model_dump(mode="json")}


def validated(model: type[M], values: Any, where: str, *, json: bool = False) -> M:
    """Build ``model`` from a user's ``values``; raise `UserError` that names the first bad key.

    With ``json``, the values are a JSON text, in which a list may represent a tuple.
    """
    try:
        return model.model_validate_json(values) if json else model.model_validate(values)
    except ValidationError as error:
        raise UserError(_sentence(error, model, where)) from error


def _sentence(error: ValidationError, model: type[BaseModel], where: str) -> str:
    # A misspelt key is also a missing key: the message names the key that the user wrote.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    *parents, last = [str(part) for part in first["loc"]] or [""]
    place = f"{where}: " + "".join(f"{part}." for part in parents)
    if first["type"] == "extra_forbidden":
        owner: Any = model
        for part in parents:
            field = getattr(owner, "model_fields", {}).get(part)
            owner = _model_of(field.annotation) if field else owner
        return f"{place}{unknown('key', last, getattr(owner, 'model_fields', {}))}"
    if first["type"] == "missing":
        return f"{place}{last} is missing; add it."
    message = first["msg"].removeprefix("Value error, ")
    shown = f" (got {first['input']!r})" if not isinstance(first["input"], dict) else ""
    owner = f"{last}: " if last else ""
    return f"{place}{owner}{message[:1].lower()}{message[1:]}{shown}."


def _model_of(annotation: Any) -> Any:
    """Return the pydantic model inside an annotation such as ``tuple[Model, ...]``."""
    for inner in [annotation, *getattr(annotation, "__args__", ())]:
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return inner
    return annotation
