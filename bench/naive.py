"""The stack that one would write first: FastAPI, an HTTP client, json, SQLAlchemy, a commit for each call."""

from __future__ import annotations

import json
import os
from typing import Any

import httpx2
from fastapi import FastAPI, HTTPException, Request
from joserfc import jwt
from joserfc.jwk import OKPKey
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app.kernel.clock import new_id
from app.kernel.db import sqlalchemy_url

app = FastAPI()
engine = create_engine(sqlalchemy_url(os.environ["NAIVE_DATABASE"]), pool_size=20)
provider = os.environ["NAIVE_PROVIDER"]
key = OKPKey.import_key(json.loads(os.environ["NAIVE_KEY"]))
client = httpx2.Client(trust_env=False, limits=httpx2.Limits(max_connections=100))
with engine.begin() as connection:
    connection.execute(text("CREATE TABLE IF NOT EXISTS naive_agreement (id text PRIMARY KEY, items text[])"))
    connection.execute(
        text("CREATE TABLE IF NOT EXISTS naive_receipt (id uuid PRIMARY KEY, rows int, status int)")
    )
    kept = "{name,credit_code,status,capital,legal_person_id,founded,district}"
    insert = text("INSERT INTO naive_agreement VALUES ('a', :items) ON CONFLICT DO NOTHING")
    connection.execute(insert, {"items": kept})


@app.get("/data/{size}")
def data(size: str, request: Request) -> list[dict[str, Any]]:
    token = request.headers["authorization"].removeprefix("Bearer ")
    if jwt.decode(token, key, algorithms=["Ed25519"]).claims["purpose"] != "P1":
        raise HTTPException(403)
    with Session(engine) as session:
        items = session.execute(text("SELECT items FROM naive_agreement WHERE id = 'a'")).scalar_one()
        left = []
        for record in client.get(f"{provider}/{size}.json").json()["data"]:
            if record["status"] == "valid":
                one = {name: record[name] for name in items}
                one["legal_person_id"] = "*" * 14 + one["legal_person_id"][-4:]
                one["founded"], one["district"] = one["founded"][:4], one["district"][:4]
                left.append(one)
        values = {"id": new_id(), "rows": len(left)}
        session.execute(text("INSERT INTO naive_receipt VALUES (:id, :rows, 200)"), values)
        session.commit()
    return left
