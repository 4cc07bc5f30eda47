"""What tests of webhooks ask of the API again and again."""


async def hook(api, receiver, *types, **options):
    """Create a webhook and return it."""
    answer = await api.post("/webhooks", {"url": receiver.url, "types": list(types) or ["*"]}, **options)
    assert answer.status == 201, answer.text
    return answer.json


async def orders(api, *order_ids):
    """Place orders of Jane's."""
    assert (await api.post("/orders", [api.order(order_id=order_id) for order_id in order_ids])).status == 200


async def log_of(api, webhook, query=""):
    """Return the webhook's deliveries, oldest first."""
    answer = await api.get(f"/webhooks/{webhook['id']}/deliveries?limit=200{query}")
    assert answer.status == 200, answer.text
    return list(reversed(answer.json["data"]))
