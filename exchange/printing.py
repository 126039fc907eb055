"""Papers over HTTP: the form that is asked for, as a page or as PDF, and how it is sent."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from app.kernel.errors import NotAcceptable
from exchange import paper

_PAGE = "text/html"
_JSON_LD = "application/ld+json"


def wanted(request: Request, *others: str) -> str:
    """The first content type of `Accept` that there is: a page, or one of the others. Errors: NotAcceptable."""
    kinds = {_PAGE: _PAGE, "text/*": _PAGE, "*/*": _PAGE, **{kind: kind for kind in others}}
    if _JSON_LD in others:
        kinds |= {"application/json": _JSON_LD, "application/*": _JSON_LD}
    for part in request.headers.get("accept", "*/*").split(","):
        if (kind := part.partition(";")[0].strip().lower()) in kinds:
            return kinds[kind]
    raise NotAcceptable(available=[_PAGE, *others])


def on_paper(written: paper.Paper, kind: str, name: str) -> Response:
    """The paper as `kind`; `name` is the file's, without its ending."""
    headers = {"Content-Language": written.locale, "Vary": "Accept, Accept-Language"}
    if kind == paper.PDF:
        headers["Content-Disposition"] = f'inline; filename="{name}.pdf"'
        return Response(paper.to_pdf(written), media_type=paper.PDF, headers=headers)
    return HTMLResponse(paper.to_html(written), headers={**headers, "Content-Security-Policy": paper.POLICY})
