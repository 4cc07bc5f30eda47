"""The API of dead letters: counted by reason, shown byte by byte, and many of them resolved by one call."""

from base64 import b64decode


async def letters(api, number):
    """Have so many orders refused and return their letters' ids, the oldest first."""
    await api.post("/orders", [api.order(total="1.234") for _ in range(number)])
    return [each["id"] for each in reversed((await api.get("/dead-letters")).json["data"])]


async def bulk(api, action, ids, **more):
    """Return the answer to a call for many letters."""
    options = {"headers": more.pop("headers", {})}
    return await api.post("/dead-letters/bulk", {"action": action, "dead_letter_ids": ids, **more}, **options)


async def test_many_letters_are_resolved_each_for_itself(api):
    """Those that can be are put away, each of the others says why not, and a repeated key is answered as before."""
    first, second, third = await letters(api, 3)
    await api.post(f"/dead-letters/{second}/discard", {"reason": "alone"})
    key = {"Idempotency-Key": "many"}
    done = await bulk(api, "discard", [third, second, "nobody", first], reason="together", headers=key)
    assert done.status == 200, done.text
    assert [(each["id"], each["ok"]) for each in done.json["results"]] == [
        (third, True), (second, False), ("nobody", False), (first, True)
    ]  # fmt: skip
    codes = [each["error"] and each["error"]["code"] for each in done.json["results"]]
    assert codes == [None, "not_open", "not_found", None]
    again = await bulk(api, "discard", [third, second, "nobody", first], reason="together", headers=key)
    assert (again.json, again.headers["Idempotency-Replayed"]) == (done.json, "true")
    assert (await api.get("/dead-letters/counts")).json["data"] == [
        {"status": "discarded", "code": "too_many_decimals", "count": 3}
    ]


async def test_what_is_refused_again_stays_open_and_says_which_field(api):
    """A retry of many tells of each message what is wrong with it still."""
    (letter,) = await letters(api, 1)
    result = (await bulk(api, "retry", [letter])).json["results"][0]
    assert (result["ok"], result["error"]["errors"][0]["path"]) == (False, "$.total")
    assert (await api.get(f"/dead-letters/{letter}")).json["status"] == "open"


async def test_a_call_that_cannot_be_is_refused_at_its_field(api):
    """A reason goes with discard alone, no id stands there twice, and there is at least one."""
    for change, path in (
        ({"action": "discard"}, "$.reason"),
        ({"action": "retry", "reason": "why not"}, "$.reason"),
        ({"action": "retry", "dead_letter_ids": []}, "$.dead_letter_ids"),
        ({"action": "retry", "dead_letter_ids": ["a", "b", "a"]}, "$.dead_letter_ids[2]"),
        ({"action": "forget"}, "$.action"),
    ):
        answer = await api.post("/dead-letters/bulk", {"dead_letter_ids": ["a"]} | change)
        assert (answer.status, [each["path"] for each in answer.json["errors"]]) == (422, [path])


async def test_a_letter_has_its_message_byte_by_byte(api):
    """What is no UTF-8 is replaced in the text, and whole in the base64; a reason narrows the list."""
    raw = b'{"order_id": "\xff", "total": 1}'
    headers = {"Content-Type": "application/jsonl"}
    await api.post("/imports/orders", data=raw, headers=headers)
    (letter,) = (await api.get("/dead-letters?code=not_utf8")).json["data"]
    story = (await api.get(f"/dead-letters/{letter['id']}")).json
    assert b64decode(story["raw_base64"]) == raw
    assert "\ufffd" in story["raw"]
    assert (await api.get("/dead-letters?code=too_many_decimals")).json["data"] == []
    wrong = await api.get("/intake/ignored?cursor=WyJub25lIiwiVVNEIl0")
    assert (wrong.status, wrong.json["errors"][0]["code"]) == (422, "bad_cursor")
