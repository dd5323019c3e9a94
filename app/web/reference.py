"""The page that describes the API, made from `/openapi.json` itself; it loads nothing from outside."""

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from app.web.templating import page

router = APIRouter(include_in_schema=False)
_METHODS = ("get", "post", "put", "patch", "delete")


@router.get("/docs")
async def reference(request: Request) -> Response:
    """Every route by tag, with its parameters, body and answers."""
    document = request.app.openapi()
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                one = _operation(document, path, method, operations[method])
                groups.setdefault(one["tag"], []).append(one)
    return page(request, "reference.html", viewer=None, groups=groups, version=document["info"]["version"])


def _operation(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    parameters = [
        {"name": one["name"], "place": one["in"], "is_required": one.get("required", False), "meaning": one.get("description", "")}
        for one in operation.get("parameters", [])
    ]
    return {
        "tag": (operation.get("tags") or ["other"])[0],
        "anchor": f"{method}-{path.strip('/').replace('/', '-').replace('{', '').replace('}', '').replace(':', '-')}",
        "method": method.upper(),
        "path": path,
        "summary": operation.get("description") or operation.get("summary", ""),
        "parameters": parameters,
        "body": _fields(document, operation.get("requestBody", {})),
        "example": _example(document, operation.get("requestBody", {})),
        "statuses": sorted(operation.get("responses", {})),
    }


def _schema(document: dict[str, Any], holder: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = holder.get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    return dict(document["components"]["schemas"][name]) if name else schema


def _fields(document: dict[str, Any], holder: dict[str, Any]) -> list[dict[str, Any]]:
    schema = _schema(document, holder)
    required = set(schema.get("required", ()))
    return [{"name": name, "kind": _kind(one), "is_required": name in required} for name, one in schema.get("properties", {}).items()]


def _kind(schema: dict[str, Any]) -> str:
    choices = [_kind(one) for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if choices:
        return " or ".join(choices)
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    return str(schema.get("type", "value"))


def _example(document: dict[str, Any], holder: dict[str, Any]) -> str:
    examples = _schema(document, holder).get("examples", ())
    return orjson.dumps(examples[0], option=orjson.OPT_INDENT_2).decode() if examples else ""
