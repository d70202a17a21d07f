"""The review's addresses: each takes what the page sent, asks the session, and answers JSON, bytes or a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from harmonygen.errors import HarmonygenError, InputError, StorageError, UsageError
from harmonygen.report import pages
from harmonygen.review import exports, limits, overview
from harmonygen.review.query import Query
from harmonygen.review.session import Session
from harmonygen.runs.review_log import reviewer_name

Answer = Callable[[Session, Request, Any], Any]
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_STATIC = (
    "style.css",
    "net.js",
    "list.js",
    "stage.js",
    "filters.js",
    "notes.js",
    "limits.js",
    "plot.js",
    "map.js",
    "app.js",
)
_SHARED, _PAGE = "common.css", files("harmonygen.review") / "page"
_MOST_PAIRS = 200
_KEPT = "private, max-age=86400, immutable"
_STATUS = {UsageError: 400, InputError: 404, StorageError: 507}


def make_app(session: Session, new_link: Callable[[], str]) -> Starlette:
    """Return the app of a session; ``new_link`` gives an address that lets another browser in."""
    routes = [Route("/", _static("index.html")), *(Route(f"/{name}", _static(name)) for name in (_SHARED, *_STATIC))]
    routes += [
        Route("/api/run", _get(session, _run)),
        Route("/api/rows", _get(session, _rows)),
        Route("/api/codes", _get(session, _codes)),
        Route("/api/starts", _get(session, _starts)),
        Route("/api/pairs", _get(session, _pairs)),
        Route("/api/find", _get(session, _find)),
        Route("/api/outline/{pair:int}", _get(session, _outline)),
        Route("/api/agreement", _get(session, lambda session, _request, _body: session.agreement())),
        Route("/api/limits", _get(session, _limits)),
        Route("/api/limits/counts", _get(session, _limits_counts)),
        Route("/api/limits/curve", _get(session, _limits_curve)),
        Route("/api/limits/use", _post(session, _limits_use), methods=["POST"]),
        Route("/api/overview", _get(session, lambda session, _request, _body: overview.overview(session))),
        Route("/api/axis/{name:str}", _get(session, _axis)),
        Route("/api/measure", _post(session, _measure), methods=["POST"]),
        Route("/api/say", _post(session, _say), methods=["POST"]),
        Route("/api/say-all", _post(session, _say_all), methods=["POST"]),
        Route("/api/undo", _post(session, _undo), methods=["POST"]),
        Route("/api/import", _post(session, _import), methods=["POST"]),
        Route("/api/link", _post(session, lambda *_: {"link": new_link()}), methods=["POST"]),
        Route("/picture/{kind:str}/{row:int}", _get(session, _picture)),
        Route("/decisions.json", _get(session, _decisions_json)),
        Route("/decisions.csv", _get(session, _decisions_csv)),
    ]
    return Starlette(routes=routes, exception_handlers={HarmonygenError: _failed})


async def _failed(_request: Request, error: Exception) -> Response:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 400)
    return JSONResponse({"error": str(error)}, status)


def _static(name: str) -> Callable[[Request], Any]:
    shared = name == _SHARED  # with the page in one file
    content = pages.asset(f"review/{name}").encode() if shared else (_PAGE / name).read_bytes()
    kind = _TYPES[name.rpartition(".")[2]]

    async def answer(_request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


def _get(session: Session, answer: Answer) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return _sent(await run_in_threadpool(answer, session, request, None))

    return endpoint


def _post(session: Session, answer: Answer) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise UsageError("this needs JSON")
        body = await request.body()
        return _sent(await run_in_threadpool(answer, session, request, _object(body)))

    return endpoint


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"this is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError("this is no JSON object")
    return value


def _sent(value: Any) -> Response:
    return value if isinstance(value, Response) else JSONResponse(value)


# What is read


def _reviewer(given: Mapping[str, Any]) -> str:
    return reviewer_name(str(given.get("reviewer", "")))


def _query(session: Session, given: Mapping[str, Any]) -> Query:
    asked = {str(name): str(value) for name, value in given.items() if name != "reviewer"}
    return Query.parse(asked, session.columns.numbers)


def _run(session: Session, request: Request, _body: Any) -> Any:
    session.renew()
    return session.facts(_reviewer(request.query_params))


def _rows(session: Session, request: Request, _body: Any) -> Response:
    rows = session.rows(_query(session, request.query_params), _reviewer(request.query_params))
    return _binary(rows.astype("<u4"))


def _starts(session: Session, _request: Request, _body: Any) -> Response:
    return _binary(session.columns.starts.astype("<u4"))


def _binary(values: np.ndarray[Any, Any]) -> Response:
    return Response(values.tobytes(), media_type="application/octet-stream")


def _codes(session: Session, request: Request, _body: Any) -> Response:
    return _binary(session.desk.codes(_reviewer(request.query_params)))


def _pairs(session: Session, request: Request, _body: Any) -> Any:
    asked = request.query_params.get("rows", "").split(",")[:_MOST_PAIRS]
    if not all(row.isdecimal() and len(row) < 10 for row in asked):
        raise UsageError("rows have to be whole numbers, separated by commas")
    return session.pairs(map(int, asked), _reviewer(request.query_params))


def _find(session: Session, request: Request, _body: Any) -> Any:
    k = request.query_params.get("k", "")
    return {"row": session.find(request.query_params.get("pair", ""), int(k) if k.isdecimal() and len(k) < 6 else None)}


def _outline(session: Session, request: Request, _body: Any) -> Any:
    pair = request.path_params["pair"]
    if pair >= session.columns.pairs:
        raise UsageError(f"there is no pair {pair}: reload the page")
    found = session.pictures.outline(session.columns, pair)
    return JSONResponse({"path": found.path, "width": found.width, "height": found.height})


def _picture(session: Session, request: Request, _body: Any) -> Response:
    kind, row = request.path_params["kind"], session.checked(request.path_params["row"])
    if kind not in ("candidate", "real", "mask"):
        raise UsageError("a picture is a candidate, real or mask")
    height = request.query_params.get("height", "")
    if height and not (height.isdecimal() and len(height) < 6 and int(height) > 0):
        raise UsageError("height is a whole number of pixels")
    found = session.pictures.get(kind, session.columns, row, int(height) if height else None)
    return Response(found.content, media_type=found.media_type, headers={"cache-control": _KEPT})


def _decisions_json(session: Session, request: Request, _body: Any) -> Response:
    of = request.query_params.get("of", "")
    content = exports.decisions_file(session.desk, [reviewer_name(of)] if of else None)
    return _download(content, "application/json", "decisions.json")


def _decisions_csv(session: Session, _request: Request, _body: Any) -> Response:
    return _download(exports.decisions_csv(session.desk), "text/csv", "decisions.csv")


def _download(content: bytes, kind: str, name: str) -> Response:
    return Response(content, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})


def _limits(session: Session, request: Request, _body: Any) -> Any:
    return limits.limits_facts(session, request.query_params)


def _limits_counts(session: Session, request: Request, _body: Any) -> Any:
    return limits.limits_counts(session, request.query_params)


def _limits_curve(session: Session, request: Request, _body: Any) -> Any:
    given = dict(request.query_params)
    return limits.limits_curve(session, given.pop("gate", ""), given)


def _axis(session: Session, request: Request, _body: Any) -> Response:
    content = overview.axis_bytes(session.columns, request.path_params["name"])
    return Response(content, media_type="application/octet-stream")


# What is written


def _say(session: Session, _request: Request, body: Mapping[str, Any]) -> Any:
    rows = body.get("rows")
    if not isinstance(rows, list) or not all(type(row) is int for row in rows):
        raise UsageError("rows is a list of whole numbers")
    said = {name: body[name] for name in ("decision", "tags", "comment") if name in body}
    return session.say(_reviewer(body), rows, said)


def _say_all(session: Session, _request: Request, body: Mapping[str, Any]) -> Any:
    query, expected = body.get("query"), body.get("expected")
    if not isinstance(query, dict) or type(expected) is not int:
        raise UsageError("query is an object, expected a whole number")
    return session.say_all(_reviewer(body), _query(session, query), expected, str(body.get("decision")))


def _undo(session: Session, _request: Request, body: Mapping[str, Any]) -> Any:
    return session.undo(_reviewer(body))


def _import(session: Session, _request: Request, body: Mapping[str, Any]) -> Any:
    return session.take_file(_reviewer(body), str(body.get("content", "")).encode())


def _measure(session: Session, _request: Request, body: Mapping[str, Any]) -> Any:
    if body.get("stop"):
        session.measuring.stop()
    else:
        if not session.columns.whole:
            raise UsageError("the run is still being read: wait a moment")
        session.measuring.start(str(body.get("kind")))
    return overview.overview(session)["measurements"]


def _limits_use(session: Session, _request: Request, body: Mapping[str, Any]) -> Any:
    given = body.get("limits")
    if not isinstance(given, dict):
        raise UsageError("limits is an object")
    return limits.write_recipe(session, {str(name): str(value) for name, value in given.items()})
