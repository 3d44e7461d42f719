"""Nothing is exposed, everything is pushed: set the variables of .env."""

from fastapi import FastAPI, HTTPException

import telemetry

app = FastAPI()
telemetry.instrument(app)


@app.get("/stock/{item}")
async def stock(item: str) -> dict[str, int]:
    """Tell how many there are; 404 where there is no such item."""
    known = {"book": 3, "record": 0}
    if item not in known:
        raise HTTPException(404)
    return {item: known[item]}
