"""Objects of a user's own packages, named `package.module:object` on the command line.

What such an object must be is said by a Protocol: its values and methods are what the object must have, its `__call__`
what the object must take.
Only names that a user typed are ever imported, never what a file of data says. Modules are found as `import` finds
them: in installed packages and, with `python -m`, in the current directory.
"""

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from motion.errors import InputError

Demanded = TypeVar("Demanded")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_extension(name: str) -> bool:
    """Tell whether `name` has the form `package.module:object`; nothing is imported."""
    return NAME.fullmatch(name) is not None


def object_name(name: str) -> str:
    """Return the part of `package.module:object` after the colon."""
    return name.partition(":")[2]


def module_file(name: str) -> Path:
    """Return the file of the module that `package.module:object` names."""
    return Path(inspect.getfile(import_module(name.partition(":")[0])))


def load_extension(name: str, protocol: type[Demanded]) -> Demanded:
    """Import the object that `name` means and check it against the Protocol `protocol`.

    Raises InputError where `name` has another form, where the module or the object is missing, or where the object
    lacks what the Protocol demands.
    """
    if not is_extension(name):
        raise InputError(f"{name!r} names no extension, expected package.module:object")
    module_name, _, attribute = name.partition(":")
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:  # a user's module may fail, or end the process, in any way
        raise InputError(
            f"{name}: the module {module_name} cannot be imported ({type(error).__name__}: {error}), "
            "expected one of an installed package or of the current directory"
        ) from error
    if not hasattr(module, attribute):
        raise InputError(f"{name}: the module {module_name} has no {attribute}, expected {describe(protocol)}")
    found: Demanded = getattr(module, attribute)
    check_extension(name, found, protocol)
    return found


def check_extension(what: str, found: object, protocol: type) -> None:
    """Raise InputError about `what` where the object `found` lacks something that the Protocol `protocol` demands."""
    for member, signature in demands(protocol).items():
        value = found if member == "__call__" else getattr(found, member, None)
        if value is None or (signature and not takes(value, list(signature.parameters)[1:])):
            lacking = "cannot be called so" if member == "__call__" else f"lacks {_shown(member, signature)}"
            raise InputError(f"{what} is of type {type(found).__name__} and {lacking}, expected {describe(protocol)}")


def demands(protocol: type) -> dict[str, inspect.Signature | None]:
    """List what a Protocol demands: values with None, methods with their signature, which begins with self."""
    methods = {
        name: inspect.signature(value)
        for name, value in vars(protocol).items()
        if inspect.isfunction(value) and (name == "__call__" or not name.startswith("_"))
    }
    return dict.fromkeys(inspect.get_annotations(protocol)) | methods


def takes(function: Any, arguments: list[str]) -> bool:
    """Tell whether `function` can be called with so many arguments by position."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:  # it is not callable, or it takes others
        return False
    except ValueError:  # compiled functions may have no signature to look at
        return True
    return True


def describe(protocol: type) -> str:
    """Write what a Protocol demands in words: "an object with LICENCE, list_clips(root)", "a function of (motion)"."""
    wanted = demands(protocol)
    call = wanted.pop("__call__", None)
    members = ", ".join(_shown(name, signature) for name, signature in wanted.items())
    if call is None:
        return f"an object with {members}"
    return f"a function of {_shown('', call)}" + (f" with {members}" if members else "")


def _shown(name: str, signature: inspect.Signature | None) -> str:
    return name if signature is None else f"{name}({', '.join(list(signature.parameters)[1:])})"
