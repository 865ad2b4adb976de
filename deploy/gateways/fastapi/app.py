"""A FastAPI model server that refuses whom Gatewatch has blocked, without a call a request."""

from __future__ import annotations

import os

from fastapi import FastAPI

from gatewatch.enforce.asgi import GatewatchMiddleware
from gatewatch.settings import Identify

app = FastAPI()
app.add_middleware(
    GatewatchMiddleware,
    url=os.environ.get("GATEWATCH_URL", "http://127.0.0.1:8081"),
    api_key=os.environ["MODELS_KEY"],
    identify=Identify(ip_header="x-real-ip", principal_header="x-consumer"),  # headers that your own proxy sets
    fail="open",
)


@app.post("/v1/completions")
async def completions() -> dict[str, str]:
    """The model."""
    return {"text": "42"}
