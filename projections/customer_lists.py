"""The queries of GET /customers: a customer is the partner's to whom the customer was assigned, else the bringer's."""

from typing import LiteralString

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

ONE: LiteralString = _ROW + "AND customer.customer_id = %(customer_id)s GROUP BY customer.customer_id"
ALL: LiteralString = (
    _ROW
    + "AND customer.customer_id > %(after)s GROUP BY customer.customer_id ORDER BY customer.customer_id LIMIT %(rows)s"
)
# Two lists that share nobody, each in order, and the first of both.
OF_PARTNER: LiteralString = f"""
SELECT * FROM (
    (
        SELECT whole.* FROM (
            SELECT DISTINCT customer_id FROM read.customers
            WHERE merchant_id = %(merchant_id)s AND partner_id = %(partner_id)s AND customer_id > %(after)s
        ) AS mine, LATERAL ({_WHOLE}) AS whole
        WHERE whole.partner_id = %(partner_id)s AND whole.assigned_partner_id IS NULL
        ORDER BY mine.customer_id LIMIT %(rows)s
    )
    UNION ALL
    (
        SELECT whole.* FROM read.assignments AS mine, LATERAL ({_WHOLE}) AS whole
        WHERE
            mine.merchant_id = %(merchant_id)s AND mine.partner_id = %(partner_id)s
            AND mine.customer_id > %(after)s
        ORDER BY mine.customer_id LIMIT %(rows)s
    )
) AS both_lists
ORDER BY customer_id LIMIT %(rows)s"""  # noqa: S608 - parts of our own
