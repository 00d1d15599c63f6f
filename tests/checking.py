"""Runtime checks of types and shapes at every call of the package, at an affordable price.

jaxtyping's import hook wraps every function in `jaxtyped`. That binds the arguments, creates a memo for axis sizes and
checks the arguments twice, which takes several times as long as most of the functions. Only functions with array
annotations need the memo; for all others the type checker alone suffices.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jaxtyping
from jaxtyping import _import_hook

_PACKAGE = Path(find_spec("softprompt").origin).parent
_with_shapes = jaxtyping.jaxtyped
_hooked = _import_hook._optimized_cache_from_source


def install() -> None:
    """Let the import hook decorate with `_checked`. Must be called before the package is imported."""
    jaxtyping.jaxtyped = _checked
    _import_hook._optimized_cache_from_source = _compiled


def _compiled(typechecker: str, path: str, debug_override: bool | None = None) -> str:
    """Return the path of a module's bytecode. The hook must use its own only for modules of the package."""
    if _PACKAGE in Path(path).parents:
        return _hooked(typechecker, path, debug_override)
    return cache_from_source(path, debug_override)


def _checked(*, typechecker: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return partial(_around, typechecker)


def _around(typechecker: Callable[[Any], Any], decorated: Any) -> Any:
    if is_dataclass(decorated) and "__init__" in vars(decorated) and _is_plain(decorated.__init__):
        decorated.__init__ = typechecker(decorated.__init__)
        return decorated
    is_lasting = "<locals>" not in getattr(
        decorated, "__qualname__", ""
    )  # beartype keeps every function that it has seen
    if is_lasting and inspect.isfunction(decorated) and _is_plain(decorated):
        return typechecker(decorated)
    return _with_shapes(decorated, typechecker=typechecker)


def _is_plain(function: Any) -> bool:
    """Return whether all annotations can be resolved, except the function's own class, and none is an array."""
    around = dict.fromkeys(function.__qualname__.split(".")[:-1], object)
    try:
        hints = get_type_hints(function, localns=around, include_extras=True)
    except Exception:  # imported for mypy only, or defined further below
        return False
    return not any(map(_has_array, hints.values()))


def _has_array(hint: Any) -> bool:
    return getattr(hint, "__module__", "").startswith("jaxtyping") or any(map(_has_array, get_args(hint)))
