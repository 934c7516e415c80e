"""A Jinja environment for programs that came with a download, bounded in time and size.

The options, the filter ``tojson``, ``raise_exception``, ``strftime_now`` and loop controls are
what ``transformers`` gives a chat template (``utils/chat_template_utils.py``), so that a file
renders here as it does there. Filters are those that templates use; whatever can multiply text
is weighed before it runs, and a program that does not end is stopped in its thread.
"""

from __future__ import annotations

import ctypes
import datetime
import functools
import json
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from jinja2 import nodes
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

T = TypeVar("T")
DEADLINE_S = 5.0
MAX_SOURCE = 256 * 1024  # characters; the longest published templates have about 20,000
MAX_TEXT = 16 * 1024 * 1024  # characters of any one value
_MAX_BITS = 256
_FILTERS = [
    "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float",
    "int", "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject",
    "rejectattr", "replace", "reverse", "round", "safe", "select", "selectattr", "sort",
    "string", "sum", "title", "trim", "unique", "upper",
]  # fmt: skip
# Methods that make something as long as their argument says.
_WIDENING = {
    "ljust", "rjust", "center", "zfill", "expandtabs", "format", "format_map", "translate",
    "to_bytes",
}  # fmt: skip


class TemplateRefusedError(Exception):
    """The template failed, or did what no template needs to do; the text is one line."""


class _Stopped(BaseException):
    """Thrown into a thread that ran past its deadline."""


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for many, times in ((left, right), (right, left)):
                if isinstance(times, int):
                    _bound(_length(many) * times)
        elif operator == "+":
            _bound(_length(left) + _length(right))
        elif operator == "**":
            if not isinstance(right, int) or _bits(left) * abs(right) > _MAX_BITS:
                raise TemplateRefusedError("it computes a huge number")
        elif isinstance(left, str | bytes):
            raise TemplateRefusedError("it formats text with %")
        result = super().call_binop(context, operator, left, right)
        if _bits(result) > _MAX_BITS:
            raise TemplateRefusedError("it computes a huge number")
        return result

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _WIDENING and super().is_safe_attribute(obj, attr, value)

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        name, owner = getattr(obj, "__name__", ""), getattr(obj, "__self__", None)
        if isinstance(owner, str) and name in ("replace", "join"):
            _bound_growth(name, owner, args)
        return super().call(context, obj, *args, **kwargs)


class _PlainConcatenation(NodeTransformer):
    """Writes ``a ~ b`` as ``a|string + b|string``: then it is weighed like any sum."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802 - the visitor's name
        self.generic_visit(node)
        texts: list[nodes.Expr] = [
            nodes.Filter(part, "string", [], [], None, None, lineno=node.lineno)
            for part in node.nodes
        ]
        return functools.reduce(lambda a, b: nodes.Add(a, b, lineno=node.lineno), texts)


def compile_template(source: str) -> Callable[[Mapping[str, Any], int], str]:
    """``source`` as a function of its variables and the most characters it may write.

    Raises :class:`TemplateRefusedError` or what Jinja raises; run it in :func:`run_bounded`.
    """
    if len(source) > MAX_SOURCE:
        raise TemplateRefusedError(f"it is {len(source)} characters long")
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols], finalize=_weighed
    )
    known = environment.filters
    environment.filters = {name: _weighing(name, known[name]) for name in _FILTERS}
    environment.filters["tojson"] = _to_json
    environment.globals = {
        name: environment.globals[name] for name in ("range", "dict", "namespace")
    }
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    tree = _PlainConcatenation().visit(environment.parse(source))
    template = environment.from_string(tree)

    def render(values: Mapping[str, Any], limit: int) -> str:
        pieces, written = [], 0
        for piece in template.generate(values):
            written += len(piece)
            if written > limit:
                raise TemplateRefusedError(f"it writes more than {limit} characters")
            pieces.append(piece)
        return "".join(pieces)

    return render


def run_bounded(work: Callable[[], T], seconds: float = DEADLINE_S) -> T:
    """Run ``work`` in a thread of its own and wait; stop it after ``seconds``.

    Raises :class:`TemplateRefusedError` for every failure of the template itself.
    """
    results: list[T] = []
    failures: list[str] = []

    def body() -> None:
        try:
            results.append(work())
        except Exception as error:
            failures.append(" ".join(str(error).split())[:200] or type(error).__name__)
        except _Stopped:
            failures.append("stopped")

    thread = threading.Thread(target=body, name="aiki-template", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        # In a thread of its own the exception cannot land in anybody else's code.
        identity = ctypes.c_ulong(thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(_Stopped))
        raise TemplateRefusedError(f"it did not end within {seconds:g} s")
    if failures:
        raise TemplateRefusedError(failures[0])
    return results[0]


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple) else 0


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _bound(size: int) -> None:
    if size > MAX_TEXT:
        raise TemplateRefusedError(f"it builds a text of {size} characters")


def _bound_growth(name: str, text: Any, arguments: tuple[Any, ...]) -> None:
    """Weigh ``replace`` and ``join`` before they run."""
    if name == "replace" and len(arguments) > 1:
        _bound(_length(text) * max(1, _length(str(arguments[1]))))
    elif name == "join" and arguments:
        _weighed(arguments[0])
        _bound(_length(text) * _length(arguments[0]))


def _weighed(value: Any) -> Any:
    """``value``, if its text would be bounded; lists may hold one long text many times."""
    weight, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        weight += 1 + (len(item) if isinstance(item, str | bytes) else 0)
        _bound(weight)
        if isinstance(item, Mapping):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
    return value


def _weighing(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """``plain`` with its arguments weighed; Jinja's own marks on the function stay."""

    @functools.wraps(plain)
    def filtered(*arguments: Any, **named: Any) -> Any:
        shown = [argument for argument in arguments if isinstance(argument, str | list | tuple)]
        for argument in shown:
            _weighed(argument)
        if name == "replace" and len(shown) == 3:
            _bound_growth("replace", shown[0], (shown[1], shown[2]))
        elif name == "join" and len(shown) == 2:
            _bound_growth("join", shown[1], (shown[0],))
        return plain(*arguments, **named)

    return filtered


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    if indent is not None and not 0 <= indent <= 16:
        raise TemplateRefusedError("it indents JSON by a huge number")
    return json.dumps(_weighed(value), ensure_ascii=ensure_ascii, indent=indent)


def _raise(message: object) -> None:
    raise TemplateRefusedError(str(message)[:200])


def _now(pattern: str) -> str:
    if len(pattern) > 100 or re.search(r"%[-_0^#+]*\d", pattern):
        raise TemplateRefusedError("it formats the date with widths")
    return datetime.datetime.now().strftime(pattern)
