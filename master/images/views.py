"""The page of images: what can be deployed, on which boxes it runs, how large it is, and where its copies lie."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from master.images import services
from master.web.current import context

views = Blueprint("images", __name__)

PER_PAGE = 50


@views.get("/images")
def images() -> str:
    """All tags by name, or those with a text in their names."""
    text = request.args.get("q", "").strip()[:200]
    with context().database.read() as session:
        found = services.list_tags(session)
        rows = [row for row in found if text in f"{row.tag.repository}:{row.tag.tag}"]
        pages = max(1, -(-len(rows) // PER_PAGE))
        page = min(pages, max(1, request.args.get("page", 1, type=int)))
        return render_template(
            "images.html",
            rows=rows[(page - 1) * PER_PAGE : page * PER_PAGE],
            has_any=bool(found),
            text=text,
            page=page,
            pages=pages,
            wanted=context().settings.copies,
        )
