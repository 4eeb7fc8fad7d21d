"""Which asserts of a cell can fail? Read from the syntax tree."""

import ast
import re

from nbformat import NotebookNode

MAGIC = re.compile(r"^(\s*)[%!].*$", re.MULTILINE)


def code_of(cell: NotebookNode) -> str:
    """Give the cell's Python, with IPython's magic lines as `pass`."""
    if cell.source.lstrip().startswith("%%"):
        return ""
    try:
        ast.parse(cell.source)
        return cell.source  # a line may begin with the operator %
    except SyntaxError:
        pass
    return MAGIC.sub(r"\1pass", cell.source)


def is_vacuous(test: ast.expr) -> bool:
    """Say whether the condition has the same value whatever was computed.

    Found are: no name and no call in it (`True`, `1 < 2`, a string), a
    tuple, list or dictionary that is written out and so is true, a
    comparison of something with itself, `or` with a part that is vacuous,
    and `and` or `not` of vacuous parts only.
    """
    names = (ast.Name, ast.Call, ast.Attribute)
    if not any(isinstance(node, names) for node in ast.walk(test)):
        return True
    match test:
        case ast.Tuple() | ast.List() | ast.Set() | ast.Dict():
            return True
        case ast.JoinedStr() | ast.Lambda() | ast.GeneratorExp():
            return True
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(map(is_vacuous, values))
        case ast.BoolOp(values=values):
            return all(map(is_vacuous, values))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return is_vacuous(operand)
        case ast.Compare(left=left, comparators=comparators):
            sides = {ast.dump(side) for side in [left, *comparators]}
            return len(sides) == 1
        case ast.Call(func=ast.Name(id="bool"), args=[argument]):
            return is_vacuous(argument)
    return False


def can_fail(cell: NotebookNode) -> dict[str, bool]:
    """Give each assert of the cell, as text, and whether it can fail.

    An assert in a function that the cell defines and does not call is not
    counted: it did not run here. Of equal ones the one that can fail counts.
    """
    tree = ast.parse(code_of(cell))
    nodes = list(ast.walk(tree))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    methods = {node.attr for node in calls if isinstance(node, ast.Attribute)}
    verdicts: dict[str, bool] = {}

    def visit(node: ast.AST, runs: bool, in_class: bool = False) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            runs = runs and node.name in (methods if in_class else names)
        if isinstance(node, ast.If) and is_vacuous(node.test):
            runs = False
        if isinstance(node, ast.Assert):
            text, vacuous = ast.unparse(node), is_vacuous(node.test)
            if runs or vacuous:
                counts = verdicts.get(text, False)
                verdicts[text] = counts or (runs and not vacuous)
        for child in ast.iter_child_nodes(node):
            visit(child, runs, isinstance(node, ast.ClassDef))

    visit(tree, True)
    return verdicts


def reason_line(cell: NotebookNode) -> bool:
    """Say whether a comment of the cell gives the reason for ignoring it."""
    return any(
        len(line.split()) >= 4
        for line in cell.source.splitlines()
        if line.lstrip().startswith("#")
    )
