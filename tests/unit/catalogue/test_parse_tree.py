import re

import pytest

from personalgen.catalogue.parse_tree import FUNCTIONS, NODES, Named, fault_of, mentioned

LOWER, CONCAT, REPEAT, TO_CHAR = 870, 1258, 1622, 1770
NAMED = Named(
    functions={
        LOWER: ("pg_catalog", "lower", "lower(text)"),
        CONCAT: ("pg_catalog", "textcat", "textcat(text,text)"),
        REPEAT: ("pg_catalog", "repeat", "repeat(text,integer)"),
        TO_CHAR: ("pg_catalog", "to_char", "to_char(date,text)"),
        99: ("public", "lower", "lower(text)"),
    },
    operators={654: ("pg_catalog", "||", CONCAT), 7: ("public", "||", CONCAT), 8: ("pg_catalog", "~", 67)},
    types={25: ("pg_catalog", "text"), 2249: ("pg_catalog", "record"), 98: ("public", "text")},
    relations={10: ("public", "v_assets"), 11: ("pg_catalog", "v_assets"), 12: ("public", "secret")},
)


def tree(*expressions, relations=(10,), extra=""):
    """Return a parse tree that selects some expressions."""
    targets = " ".join(f"{{TARGETENTRY :expr {each} :resno 1}}" for each in expressions)
    tables = " ".join(f"{{RANGETBLENTRY :alias <> :rtekind 0 :relid {oid}}}" for oid in relations)
    return f"{{QUERY :commandType 1 :hasRecursive false :rtable ({tables}) :targetList ({targets}) {extra}}}"


def fault(*expressions, **changes):
    return fault_of(tree(*expressions, **changes), NAMED, relations=frozenset({"v_assets"}), schema="public")


def call(oid):
    return f"{{FUNCEXPR :funcid {oid} :funcresulttype 25 :args <>}}"


JOIN = f"{{OPEXPR :opno 654 :opfuncid {CONCAT} :opresulttype 25 :args <>}}"
VAR = "{VAR :varno 1 :varattno 2 :vartype 25}"


def test_a_plain_question_passes():
    """Columns of a view, a listed function and a few joined texts are nothing to refuse."""
    assert fault(VAR, call(LOWER), JOIN, call(TO_CHAR)) is None


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        (call(REPEAT), r"function repeat"),
        (call(99), "function lower"),
        (call(123456), r"function \?"),
        ("{OPEXPR :opno 7 :opfuncid 1258}", r"operator \|\|"),
        ("{OPEXPR :opno 8 :opfuncid 67}", "operator ~"),
        ("{VAR :varno 1 :varattno 0 :vartype 2249}", "whole row"),
        ("{VAR :varno 1 :varattno 1 :vartype 2249}", "type record"),
        ("{CONST :consttype 98}", "type text"),
        ("{CONST :consttype 4242}", r"type \?"),
        ("{ARRAYEXPR :array_typeid 1009}", "array"),
        ("{SUBLINK :subLinkType 6}", "array"),
        ("{ROWEXPR :args <>}", "kind rowexpr"),
        ("{SOMETHINGNEW :args <>}", "kind somethingnew"),
    ],
)
def test_what_is_on_no_list_is_refused(expression, why):
    """Unknown functions, operators, types and kinds of expressions are refused, and those of other schemas."""
    assert re.search(why, fault(expression))


@pytest.mark.parametrize("relation", [11, 12, 13])
def test_only_open_relations_of_the_catalogue_are_read(relation):
    """A relation of the same name elsewhere, one that is not open, and one that nobody knows are refused."""
    assert "is not open" in fault(VAR, relations=(10, relation))


@pytest.mark.parametrize(
    "extra", [":hasRecursive true", ":hasRecursive\ntrue", "{QUERY :commandType 4}", "{ROWMARKCLAUSE}"]
)
def test_recursion_and_writing_inside_are_refused(extra):
    """A recursive query, one that changes rows in a WITH, and one that locks them are refused, however lines wrap."""
    assert fault(VAR, extra=extra)


def test_an_in_list_is_the_only_array():
    """The list of IN is an array of the server's making; one more array than lists is refused."""
    listed = "{SCALARARRAYOPEXPR :opno 0 :opfuncid 0 :args ({CONST :consttype 25} {ARRAYEXPR :elements <>})}"
    assert fault(listed) is None
    assert "array" in fault(listed, "{ARRAYEXPR :elements <>}")


def test_a_name_in_the_statement_hides_nothing():
    """Text of the statement stands escaped: braces in it are no nodes, and what looks like an id is looked up."""
    assert fault(VAR, extra=r":aliasname \{SCALARARRAYOPEXPR") is None
    assert "array" in fault(
        "{ARRAYEXPR :elements <>}", extra=":aliasname \\{SCALARARRAYOPEXPR :aliasname \\\n{SCALARARRAYOPEXPR"
    )
    assert 5 in mentioned(tree(VAR, extra=":aliasname :funcid 5")).functions


def test_joins_are_counted_over_levels_and_columns():
    """Nineteen joins in one expression pass; the same over four levels of subqueries, or many columns, do not."""
    assert fault(JOIN * 19) is None
    assert "joins more texts" in fault(JOIN * 19, extra="{QUERY :commandType 1}" * 3)
    assert "joins more texts" in fault(*[JOIN] * 21)
    assert "joins more texts" in fault(call(TO_CHAR) * 3, extra="{QUERY :commandType 1}" * 3)


def test_nothing_that_swells_or_asks_the_server_is_listed():
    """No function that makes long values of short ones or tells of the server is on the list."""
    never = {
        "repeat", "lpad", "rpad", "format", "concat", "replace", "string_agg", "array_agg", "json_agg", "set_config",
        "current_setting", "pg_sleep", "generate_series", "regexp_replace", "query_to_xml", "factorial",
    }  # fmt: skip
    assert FUNCTIONS.isdisjoint(never)
    assert NODES.isdisjoint({"ROW", "ROWEXPR", "PARAM", "XMLEXPR", "TABLEFUNC", "NEXTVALUEEXPR", "TABLESAMPLECLAUSE"})
