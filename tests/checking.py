"""Types and shapes are checked at every call of the package while it is tested, at a price that tests can pay.

jaxtyping's import hook puts `jaxtyped` around every function. That binds the arguments, lays out a memory for the axes'
sizes and checks the arguments twice, which is several times what most of these functions do. Only a function that names
an array needs the memory; around every other the same type checker stands by itself.
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
    """From now on the hook decorates with `_checked`. To be called before the package is imported."""
    jaxtyping.jaxtyped = _checked
    _import_hook._optimized_cache_from_source = _compiled


def _compiled(typechecker: str, path: str, debug_override: bool | None = None) -> str:
    """Where a module's bytecode is. While the hook reads one of the package, it is asked for what that imports, too."""
    if _PACKAGE in Path(path).parents:
        return _hooked(typechecker, path, debug_override)
    return cache_from_source(path, debug_override)


def _checked(*, typechecker: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return partial(_around, typechecker)


def _around(typechecker: Callable[[Any], Any], decorated: Any) -> Any:
    if is_dataclass(decorated) and "__init__" in vars(decorated) and _is_plain(decorated.__init__):
        decorated.__init__ = typechecker(decorated.__init__)
        return decorated
    is_lasting = "<locals>" not in getattr(decorated, "__qualname__", "")  # beartype keeps each that it has seen
    if is_lasting and inspect.isfunction(decorated) and _is_plain(decorated):
        return typechecker(decorated)
    return _with_shapes(decorated, typechecker=typechecker)


def _is_plain(function: Any) -> bool:
    """Whether all that it is annotated with has a meaning by now, its own class apart, and no array is among it."""
    around = dict.fromkeys(function.__qualname__.split(".")[:-1], object)
    try:
        hints = get_type_hints(function, localns=around, include_extras=True)
    except Exception:  # what is imported for mypy alone, or comes further below: jaxtyping asks for nothing there
        return False
    return not any(map(_has_array, hints.values()))


def _has_array(hint: Any) -> bool:
    return getattr(hint, "__module__", "").startswith("jaxtyping") or any(map(_has_array, get_args(hint)))
