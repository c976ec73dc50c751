"""How uvicorn serves the gateway: one place, so that tests and benchmarks run what production runs.

Owns the server's options. Does not own the application nor the process.
"""

from __future__ import annotations

import uvicorn
from starlette.types import ASGIApp

STOP_SECONDS = 20
"""How long a stopping server waits for requests under way: as long as any sender would wait for the answer."""


def server_config(app: ASGIApp) -> uvicorn.Config:
    """Return the options, for a socket that is bound already.

    Logs are as ``runtime.logging`` set them up, without a line per request.
    """
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
