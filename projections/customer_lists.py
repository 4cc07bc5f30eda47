"""The queries of GET /customers: a customer is the partner's to whom the customer was assigned, else the bringer's."""

from typing import Any, LiteralString

# A customer who bought in several currencies has as many rows; the first order of all decides who brought the customer.
_ROW: LiteralString = """
SELECT
    customer.customer_id,
    (array_agg(customer.partner_id ORDER BY customer.first_order_at, customer.first_position))[1] AS partner_id,
    (array_agg(assignment.partner_id))[1] AS assigned_partner_id,
    (array_agg(assignment.assigned_at))[1] AS assigned_at,
    (array_agg(assignment.reason))[1] AS assignment_reason,
    min(customer.first_order_at) AS first_order_at,
    max(customer.last_order_at) AS last_order_at,
    array_agg(customer.currency ORDER BY customer.currency) AS currencies,
    array_agg(customer.orders ORDER BY customer.currency) AS orders,
    array_agg(customer.gross_minor ORDER BY customer.currency) AS gross_minor,
    array_agg(customer.refunded_minor ORDER BY customer.currency) AS refunded_minor,
    (array_agg(person.name))[1] AS name,
    (array_agg(person.email))[1] AS email
FROM read.customers AS customer
LEFT JOIN read.assignments AS assignment
    ON assignment.merchant_id = customer.merchant_id AND assignment.customer_id = customer.customer_id
LEFT JOIN people.customers AS person
    ON person.merchant_id = customer.merchant_id AND person.customer_id = customer.customer_id
WHERE customer.merchant_id = %(merchant_id)s """
_WHOLE: LiteralString = _ROW + "AND customer.customer_id = mine.customer_id GROUP BY customer.customer_id"
_BEGINS: LiteralString = " AND customer_id >= %(search)s AND customer_id < %(beyond)s"
_BEGUN: LiteralString = " AND customer.customer_id >= %(search)s AND customer.customer_id < %(beyond)s"

ONE: LiteralString = _ROW + "AND customer.customer_id = %(customer_id)s GROUP BY customer.customer_id"


def query(*, of_partner: bool, searched: bool) -> LiteralString:
    """Return the query of the list: of all customers or a partner's, and of those that a text finds.

    Its parameters: merchant_id, after, rows; partner_id; those of `searched`.
    """
    lists = _of_partner(_BEGINS if searched else "") if of_partner else (_all(_BEGUN if searched else ""),)
    if searched:
        lists += (_by_email(of_partner=of_partner),)
    if len(lists) == 1:
        return lists[0]
    # Lists that share nobody, each in order, and the first of them all.
    each: LiteralString = ") UNION ALL (".join(lists)
    return f"SELECT * FROM (({each})) AS lists ORDER BY customer_id LIMIT %(rows)s"  # noqa: S608 - parts of our own


def searched(search: str | None) -> dict[str, Any]:
    """Return the parameters of a search: the text, and what is behind everything that begins with it."""
    return {} if search is None else {"search": search, "beyond": search + chr(0x10FFFF)}


def _all(narrowed: LiteralString) -> LiteralString:
    return f"""{_ROW} AND customer.customer_id > %(after)s{narrowed}
    GROUP BY customer.customer_id ORDER BY customer.customer_id LIMIT %(rows)s"""


def _of_partner(narrowed: LiteralString) -> tuple[LiteralString, ...]:
    brought: LiteralString = f"""
        SELECT whole.* FROM (
            SELECT DISTINCT customer_id FROM read.customers
            WHERE
                merchant_id = %(merchant_id)s AND partner_id = %(partner_id)s AND customer_id > %(after)s{narrowed}
        ) AS mine, LATERAL ({_WHOLE}) AS whole
        WHERE whole.partner_id = %(partner_id)s AND whole.assigned_partner_id IS NULL
        ORDER BY mine.customer_id LIMIT %(rows)s"""  # noqa: S608 - parts of our own
    given: LiteralString = f"""
        SELECT whole.* FROM (
            SELECT customer_id FROM read.assignments
            WHERE
                merchant_id = %(merchant_id)s AND partner_id = %(partner_id)s AND customer_id > %(after)s{narrowed}
        ) AS mine, LATERAL ({_WHOLE}) AS whole
        ORDER BY mine.customer_id LIMIT %(rows)s"""  # noqa: S608 - parts of our own
    return brought, given


def _by_email(*, of_partner: bool) -> LiteralString:
    """Those with the address, but for those whom the list of ids has already."""
    owner: LiteralString = "coalesce(whole.assigned_partner_id, whole.partner_id)"
    narrowed: LiteralString = f"WHERE {owner} = %(partner_id)s" if of_partner else ""
    # Found by a number, and then compared, as in `projections.lists`.
    return f"""
        SELECT whole.* FROM (
            SELECT customer_id FROM people.customers
            WHERE
                by_email = hashtextextended(%(merchant_id)s::text || '/' || lower(%(search)s::text), 0)
                AND CASE
                    WHEN merchant_id = %(merchant_id)s AND lower(email) = lower(%(search)s::text) THEN true ELSE false
                END
                AND customer_id > %(after)s AND NOT (customer_id >= %(search)s AND customer_id < %(beyond)s)
        ) AS mine, LATERAL ({_WHOLE}) AS whole
        {narrowed} ORDER BY mine.customer_id LIMIT %(rows)s"""  # noqa: S608 - parts of our own
