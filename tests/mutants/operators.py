"""Small changes to Python code, each of which a test should notice: comparisons, guards, statements, numbers.

What only logs, counts or traces is left as it is: `tests/freshgate/telemetry` and `tests/dashboards` cover that.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

# A comparison → what takes its place: its boundary shifted, and its contrary.
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
NAMES = {"max": "min", "min": "max", "any": "all", "all": "any"}
OBSERVERS = frozenset({"log", "metrics", "tracing", "_traces", "span", "count_needs", "_observe_delay"})


class Mutant(NamedTuple):
    """One change to a file. `name` is stable while other lines move: function, text before and after.

    function  what was changed, such as "PersonView.cart"; empty where that is not one function
    """

    file: str
    function: str
    line: int
    name: str
    source: str


def mutants(file: str, source: str) -> Iterator[Mutant]:
    """All mutants of a file, in the order of its lines."""
    lines = source.encode().split(b"\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    text = source.encode()
    changes = sorted(_changes(ast.parse(source), "module"), key=lambda change: change[1].lineno)
    for function, node, replacement in changes:
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        before = " ".join(text[start:end].decode().split())
        mutated = (text[:start] + replacement.encode() + text[end:]).decode()
        name = f"{file} {function}: {_shorten(before)} → {_describe(node, replacement)}"
        yield Mutant(file, "" if function == "module" else function, node.lineno, name, mutated)


def _describe(node: ast.AST, replacement: str) -> str:
    """What takes the node's place, in a few words."""
    if isinstance(node, ast.Dict):
        changed = ast.parse(replacement, mode="eval").body
        remaining = [ast.unparse(key) for key in changed.keys if key] if isinstance(changed, ast.Dict) else []
        gone = [ast.unparse(key) for key in node.keys if key and ast.unparse(key) not in remaining]
        return f"without {' '.join(gone)}"
    return _shorten(replacement)


def _shorten(text: str, length: int = 90) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _changes(node: ast.AST, function: str) -> Iterator[tuple[str, ast.expr | ast.stmt, str]]:
    """(function, node, text in its place) of each change below a node."""
    # What is defined in a function belongs to it; a class has a capital.
    is_outside = function == "module" or function.rpartition(".")[2].lstrip("_")[0].isupper()
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and is_outside:
        function = node.name if function == "module" else f"{function}.{node.name}"
    if isinstance(node, ast.expr):
        for changed in _changed_expressions(node):
            yield function, node, f"({ast.unparse(changed)})"
    if isinstance(node, ast.stmt):
        yield from ((function, statement, text) for statement, text in _changed_statements(node))
    if isinstance(node, ast.comprehension):
        yield from ((function, test, "True") for test in node.ifs)
    for child in _children(node):
        yield from _changes(child, function)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """The parts in which a change changes what the code does: no annotations, decorators, texts or observers."""
    if isinstance(node, ast.JoinedStr) or _is_observer(node):
        return
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "keywords") and not isinstance(node, ast.Call):
            continue
        for child in value if isinstance(value, list) else [value]:
            # The default of a class's field is only what a test's own data leave out.
            is_default = isinstance(node, ast.ClassDef) and isinstance(child, ast.AnnAssign)
            if isinstance(child, ast.AST) and not is_default:
                yield child


def _is_observer(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    names = {part.id for part in ast.walk(node.value.func) if isinstance(part, ast.Name)}
    names |= {part.attr for part in ast.walk(node.value.func) if isinstance(part, ast.Attribute)}
    return bool(names & OBSERVERS)


def _changed_expressions(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(left=first, ops=[operator], comparators=comparators):
            for changed in COMPARISONS[type(operator)]:
                yield ast.Compare(first, [changed()], comparators)
        case ast.BoolOp(op=operator, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
            for index in range(len(values)):
                rest = values[:index] + values[index + 1 :]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(operator, rest)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(left=first, op=operator, right=right) if type(operator) in ARITHMETIC:
            yield ast.BinOp(first, ARITHMETIC[type(operator)](), right)
        case ast.IfExp(body=body, orelse=orelse):
            yield body
            yield orelse
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.Name(id=name) if name in NAMES:
            yield ast.Name(NAMES[name])
        case ast.Dict(keys=keys, values=values):
            for index in range(len(keys)):
                yield ast.Dict(keys[:index] + keys[index + 1 :], values[:index] + values[index + 1 :])


def _changed_statements(node: ast.stmt) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    match node:
        case ast.If(test=test) | ast.While(test=test):
            yield test, "False"
            if isinstance(node, ast.If):
                yield test, "True"
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield node, "return None"
        case ast.Expr(value=ast.Call()) if not _is_observer(node):
            yield node, "pass"
        case ast.AugAssign() | ast.Continue() | ast.Break() | ast.Raise():
            yield node, "pass"
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
            yield node, "pass"
