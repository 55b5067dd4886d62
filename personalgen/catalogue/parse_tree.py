"""What a statement on PostgreSQL would do, read from the server's own parse tree of it; the standard library alone.

`debug_print_parse` makes the server send the tree of a statement that is prepared and never run. So no parser of ours
can disagree with the server's about a comment, a quote or a cast, and what the tree does not show is not executed:
everything in it must be on a list, and unknown kinds of nodes are refused.

Names and texts of the statement stand escaped in the tree: they can add a match to these patterns, which is refused,
and cannot hide one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_NODE = re.compile(r"(?<!\\)(?<!\\\n)\{([A-Z_]+)")
_FUNCTION = re.compile(r":(?:funcid|opfuncid|aggfnoid|winfnoid)\s+(\d+)")
_OPERATOR = re.compile(r":opno\s+(\d+)")
_RELATION = re.compile(r":relid\s+(\d+)")
_TYPE = re.compile(
    r":(?:consttype|vartype|resulttype|funcresulttype|opresulttype|aggtype|wintype|casetype|coalescetype|minmaxtype"
    r"|nullifexprtype)\s+(\d+)"
)

_COMMAND = re.compile(r":commandType\s+(\d+)")
_SELECT: Final = "1"

NODES: Final = frozenset({
    # the frame of a query
    "QUERY", "RANGETBLENTRY", "RTE", "RTEPERMISSIONINFO", "ALIAS", "FROMEXPR", "JOINEXPR", "RANGETBLREF", "TARGETENTRY",
    "SETOPERATIONSTMT", "COMMONTABLEEXPR", "CTE", "SORTGROUPCLAUSE", "GROUPINGSET", "GROUPINGFUNC", "WINDOWCLAUSE",
    "RANGETBLFUNCTION", "SUBLINK",
    # expressions
    "VAR", "CONST", "FUNCEXPR", "OPEXPR", "AGGREF", "WINDOWFUNC", "BOOLEXPR", "NULLTEST", "BOOLEANTEST", "DISTINCTEXPR",
    "NULLIFEXPR", "SCALARARRAYOPEXPR", "ARRAY", "ARRAYEXPR", "CASE", "CASEEXPR", "WHEN", "CASEWHEN", "CASETESTEXPR",
    "COALESCE", "COALESCEEXPR", "MINMAX", "MINMAXEXPR", "ROWCOMPARE", "ROWCOMPAREEXPR", "RELABELTYPE", "COERCEVIAIO",
    "SQLVALUEFUNCTION",
})  # fmt: skip
"""Kinds of nodes, as PostgreSQL 13 to 15 and 16 onwards spell them. Absent: rows, which a cast to text multiplies."""

TYPES: Final = frozenset({
    "bool", "int2", "int4", "int8", "float4", "float8", "numeric", "text", "varchar", "bpchar", "unknown", "name",
    "date", "time", "timestamp", "timestamptz", "interval", "json", "jsonb", "bytea",
})  # fmt: skip
"""Of every value: no arrays and no rows, which collect others; no bits, whose length is a number in the statement."""

OPERATORS: Final = frozenset({
    "=", "<>", "<", ">", "<=", ">=", "+", "-", "*", "/", "%", "||", "~~", "!~~", "~~*", "!~~*", "->", "->>",
})  # fmt: skip
"""By name; `~~` is LIKE. No regular expressions: some need exponential time; no `^`: on numeric it outlives a timer."""

FUNCTIONS: Final = frozenset({
    # aggregates
    "avg", "bool_and", "bool_or", "corr", "count", "every", "max", "min", "mode", "percentile_cont", "percentile_disc",
    "stddev", "stddev_pop", "stddev_samp", "sum", "var_pop", "var_samp", "variance",
    # windows
    "cume_dist", "dense_rank", "first_value", "lag", "last_value", "lead", "nth_value", "ntile", "percent_rank", "rank",
    "row_number",
    # values and text that is no longer than what went in
    "abs", "btrim", "ceil", "ceiling", "char_length", "floor", "initcap", "left", "length", "lower", "ltrim", "mod",
    "octet_length", "position", "right", "round", "rtrim", "sign", "split_part", "starts_with", "strpos", "substr",
    "substring", "trunc", "upper", "width_bucket",
    # float arithmetic; the same of numeric is refused
    "exp", "ln", "log", "log10", "pow", "power", "sqrt",
    # time
    "age", "date", "date_part", "date_trunc", "extract", "make_date", "now", "timezone", "to_char", "to_timestamp",
    # what casts call
    "bool", "float4", "float8", "int2", "int4", "int8", "interval", "numeric", "text", "time", "timestamp",
    "timestamptz", "varchar",
    # the JSON of top_events, counts and verdicts
    "json_array_element", "json_array_element_text", "json_array_elements", "json_array_elements_text",
    "json_array_length", "json_object_field", "json_object_field_text", "json_typeof", "jsonb_array_element",
    "jsonb_array_element_text", "jsonb_array_elements", "jsonb_array_elements_text", "jsonb_array_length",
    "jsonb_object_field", "jsonb_object_field_text", "jsonb_typeof",
})  # fmt: skip
"""Of pg_catalog, by name."""

_SLOW_NUMERIC: Final = frozenset({"exp", "ln", "log", "pow", "power", "sqrt"})
_PATTERNS: Final = frozenset({"substring(text,text)", "substring(text,text,text)"})
_TEXT_CONCATENATION: Final = "textcat(text,text)"
_TO_CHAR_WEIGHT: Final = 7
"""A letter of its pattern gives at most nine, "DAY"; a doubling each for the three of them is more than enough."""

MAX_RELATIONS: Final = 30
MAX_GROWTH: Final = 400
"""Texts times their greatest growth by `||` and to_char: with statements of 20 kB and numbers of 131 kB, 52 MB."""


@dataclass(frozen=True)
class Named:
    """What the object ids of a tree stand for."""

    functions: Mapping[int, tuple[str, str, str]]
    """oid -> schema, name, signature such as lower(text)."""
    operators: Mapping[int, tuple[str, str, int]]
    """oid -> schema, name, the oid of its function."""
    types: Mapping[int, tuple[str, str]]
    """oid -> schema, name."""
    relations: Mapping[int, tuple[str, str]]
    """oid -> schema, name."""


@dataclass(frozen=True)
class Mentioned:
    """The object ids that a tree mentions."""

    functions: frozenset[int]
    operators: frozenset[int]
    types: frozenset[int]
    relations: frozenset[int]


def mentioned(tree: str) -> Mentioned:
    """Return the ids that must be looked up before `fault_of`; 0 stands for none in a tree."""
    found = [frozenset(map(int, pattern.findall(tree))) - {0} for pattern in (_FUNCTION, _OPERATOR, _TYPE, _RELATION)]
    return Mentioned(*found)


def fault_of(tree: str, named: Named, *, relations: frozenset[str], schema: str) -> str | None:
    """Return why the statement of this tree is refused, or None; `relations` of `schema` are open to it."""
    return (
        _shape_fault(tree)
        or _relation_fault(tree, named, relations, schema)
        or _operator_fault(tree, named)
        or _function_fault(tree, named)
        or _type_fault(tree, named)
        or _growth_fault(tree, named)
    )


def _shape_fault(tree: str) -> str | None:
    """Refuse what is no plain SELECT, unknown nodes, and arrays outside an IN list."""
    nodes = _NODE.findall(tree)
    if not tree.startswith("{QUERY") or set(_COMMAND.findall(tree)) != {_SELECT}:
        return "One SELECT, WITH or VALUES statement is expected."
    if re.search(r":hasRecursive\s+true\b", tree):
        return "A recursive query, which need not end, is not allowed."
    if unknown := sorted(set(nodes) - NODES):
        return f"An expression of the kind {', '.join(unknown).lower()} is not allowed."
    if re.search(r":varattno\s+0\b", tree):
        return "A whole row as a value is not allowed: name its columns."
    n_arrays = nodes.count("ARRAY") + nodes.count("ARRAYEXPR")
    if n_arrays != nodes.count("SCALARARRAYOPEXPR") or re.search(r":subLinkType\s+6\b", tree):
        return "An array is not allowed, but for the list of IN."
    n_relations = nodes.count("RANGETBLENTRY") + nodes.count("RTE")
    return f"It names more than {MAX_RELATIONS} tables." if n_relations > MAX_RELATIONS else None


def _relation_fault(tree: str, named: Named, relations: frozenset[str], schema: str) -> str | None:
    for oid in mentioned(tree).relations:
        where, name = named.relations.get(oid, ("", "?"))
        if where != schema or name not in relations:
            return f"The table {where}.{name} is not open to queries. Open are {', '.join(sorted(relations))}."
    return None


def _operator_fault(tree: str, named: Named) -> str | None:
    for oid in mentioned(tree).operators:
        where, name, function = named.operators.get(oid, ("", "?", 0))
        signature = named.functions.get(function, ("", "", "?"))[2]
        joins_others = name == "||" and signature != _TEXT_CONCATENATION
        if where != "pg_catalog" or name not in OPERATORS or joins_others:
            hint = ": cast both sides to text" if joins_others else ""
            return f"The operator {name} ({signature}) is not on the list of allowed operators{hint}."
    return None


def _function_fault(tree: str, named: Named) -> str | None:
    behind_operators = {function for _, _, function in named.operators.values()}
    for oid in mentioned(tree).functions - behind_operators:
        where, name, signature = named.functions.get(oid, ("", "?", "?"))
        slow = name in _SLOW_NUMERIC and "numeric" in signature
        if where != "pg_catalog" or name not in FUNCTIONS or signature in _PATTERNS or slow:
            hint = ": cast its argument to float" if slow else ""
            return f"The function {signature} is not on the list of allowed functions{hint}."
    return None


def _type_fault(tree: str, named: Named) -> str | None:
    for oid in mentioned(tree).types:
        where, name = named.types.get(oid, ("", "?"))
        if where != "pg_catalog" or name not in TYPES:
            return f"A value of the type {name} is not allowed."
    return None


def _growth_fault(tree: str, named: Named) -> str | None:
    """Refuse texts that could swell: n joins over q levels of subqueries multiply a text by (1 + n/q)^q at most.

    That is the largest product of q factors of which each is one more than the joins of its level. Every column of
    every level may hold such a text.
    """
    joins = {oid for oid, (_, name, _) in named.operators.items() if name == "||"}
    to_char = {oid for oid, (_, name, _) in named.functions.items() if name == "to_char"}
    n_joins = sum(int(oid) in joins for oid in _OPERATOR.findall(tree))
    n_joins += _TO_CHAR_WEIGHT * sum(int(oid) in to_char for oid in _FUNCTION.findall(tree))
    if not n_joins:
        return None
    nodes = _NODE.findall(tree)
    levels, columns = nodes.count("QUERY"), nodes.count("TARGETENTRY")
    if (1 + n_joins / levels) ** levels * columns > MAX_GROWTH:
        return "It joins more texts over more subqueries and columns than is allowed: use fewer of ||."
    return None
