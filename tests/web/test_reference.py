"""The API's own description: complete, and served without anything from outside."""

import re

from tests.conftest import Gateway


async def test_every_route_of_the_interface_is_on_the_page_and_in_the_document(gateway: Gateway) -> None:
    document = (await gateway.client.get("/openapi.json")).json()
    page = (await gateway.client.get("/docs", headers={"Accept": "text/html"})).text
    assert document["openapi"].startswith("3.1")
    routes = [(method, path) for path, methods in document["paths"].items() for method in methods]
    assert ("post", "/v1/answers") in routes
    assert [f"{method} {path}" for method, path in routes if f"{method.upper()} {path}" not in page] == []
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)


async def test_bodies_carry_examples(gateway: Gateway) -> None:
    schemas = (await gateway.client.get("/openapi.json")).json()["components"]["schemas"]
    assert schemas["SearchBody"]["examples"]
    assert schemas["AnswerBody"]["examples"]
