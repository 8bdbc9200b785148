"""An API gateway of the usual Python kind: FastAPI middleware verifies the JWT, limits each organization and each address by token
buckets in Redis (a Lua script, both keys in one round trip), and httpx forwards over kept-alive connections, bodies streamed."""

import os
import time
import uuid
from contextlib import asynccontextmanager

import httpx
import jwt
import redis.asyncio as redis
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

SECRET = os.environ["JWT_SECRET_KEY"]
BACKEND = os.environ["BACKEND_URL"]
PER_MINUTE = int(os.environ["RATE_LIMIT_RPM"])
BUCKET = PER_MINUTE + int(os.environ["RATE_LIMIT_BURST"])

TAKE = """
local now = tonumber(ARGV[1])
for _, key in ipairs(KEYS) do
    local held = redis.call('HMGET', key, 'tokens', 'at')
    local tokens = math.min(tonumber(ARGV[3]), (tonumber(held[1]) or tonumber(ARGV[3]))
        + (now - (tonumber(held[2]) or now)) * tonumber(ARGV[2]) / 60)
    if tokens < 1 then return 0 end
    redis.call('HSET', key, 'tokens', tokens - 1, 'at', ARGV[1])
    redis.call('EXPIRE', key, 120)
end
return 1
"""

# Fields that speak of one connection, and those that only the gateway may set.
DROPPED = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "host",
           "x-user-id", "x-organization-id", "x-user-role", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}


@asynccontextmanager
async def lifespan(app):
    limits = httpx.Limits(max_connections=2000, max_keepalive_connections=1000, keepalive_expiry=60)
    app.state.http = httpx.AsyncClient(base_url=BACKEND, limits=limits, timeout=30)
    app.state.redis = redis.from_url(os.environ["REDIS_URL"], max_connections=256)
    app.state.take = app.state.redis.register_script(TAKE)
    yield
    await app.state.http.aclose()
    await app.state.redis.aclose()


app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)


def refused(status, error):
    return JSONResponse({"error": error}, status)


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
async def forward(request: Request, path: str):
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return refused(401, "Unauthorized")
    try:
        claims = jwt.decode(token, SECRET, algorithms=["HS256"], options={"require": ["exp"]})
    except jwt.PyJWTError:
        return refused(401, "Unauthorized")
    organization, address = claims.get("organization_id"), request.client.host
    keys = [f"rate:ip:{address}", f"rate:org:{organization}"]
    if not await app.state.take(keys=keys, args=[time.time(), PER_MINUTE, BUCKET]):
        return refused(429, "Too Many Requests")

    headers = [(name, value) for name, value in request.headers.items() if name not in DROPPED]
    headers += [
        ("x-organization-id", str(organization)),
        ("x-user-id", str(claims.get("user_id", ""))),
        ("x-user-role", str(claims.get("role", ""))),
        ("x-forwarded-for", address),
        ("x-forwarded-proto", request.url.scheme),
        ("x-forwarded-host", request.headers.get("host", "")),
        ("x-request-id", uuid.uuid4().hex),
    ]
    http = app.state.http
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    url = http.base_url.copy_with(path=request.url.path, query=request.url.query.encode() or None)
    outgoing = http.build_request(request.method, url, headers=headers, content=request.stream() if has_body else None)
    answer = await http.send(outgoing, stream=True)
    kept = {name: value for name, value in answer.headers.items() if name not in DROPPED}
    return StreamingResponse(answer.aiter_raw(), answer.status_code, kept, background=None if answer.is_closed else Close(answer))


class Close:
    """Gives the connection back once the answer has been sent."""

    def __init__(self, answer):
        self.answer = answer

    async def __call__(self):
        await self.answer.aclose()
