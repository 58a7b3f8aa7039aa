"""What a browser sees instead of the application: the status and a small page for each reason."""

from __future__ import annotations

import html
from dataclasses import dataclass
from string import Template


@dataclass(frozen=True)
class Refusal:
    """One reason. `retry_s` reloads the page by itself."""

    status: int
    title: str
    text: str
    retry_s: int | None = None


REFUSALS = {
    "no-ticket": Refusal(
        401, "Open it from the portal", "This application opens with a ticket from the portal."
    ),
    "expired": Refusal(401, "Your session has ended", "Open the application from the portal again."),
    "not-ready": Refusal(
        503, "Not ready yet", "The application is still starting. This page tries again by itself.", retry_s=2
    ),
    "gone": Refusal(410, "It has ended", "This application does not run any more."),
    "unknown": Refusal(404, "Not here", "No such application runs on this box."),
    "no-page": Refusal(404, "It has no page", "This application has no port that a browser could open."),
    "share-ended": Refusal(403, "This invitation has ended", "Ask its owner for another one."),
    "watch": Refusal(
        403,
        "It cannot be watched",
        "This application shows its own pages; only a session that may take control can open them.",
    ),
    "not-yours": Refusal(403, "Not in this session", "Your invitation does not open this."),
    "foreign": Refusal(403, "Not from there", "Another site asked for this; the gateway does not let it."),
    "silent": Refusal(
        502, "It does not answer", "The application runs but does not answer. Trying again.", retry_s=5
    ),
    "bad-ticket": Refusal(401, "This ticket does not open it", "$why"),
}

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>$title</title>$retry<style>
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;place-items:center;
background:Canvas;color:CanvasText}
main{max-width:26rem;padding:2rem;text-align:center}
h1{font-size:1.5rem;margin:0 0 .5rem}
p{margin:0 0 1.5rem;opacity:.8}
a{display:inline-block;padding:.6rem 1.2rem;border-radius:.5rem;background:#2458d3;color:#fff;text-decoration:none}
</style></head><body><main><h1>$title</h1><p>$text</p>$link</main></body></html>
""")

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page(refusal: Refusal, portal: str | None, why: str = "") -> bytes:
    """The page, with a link to the portal if its address is known."""
    link = f'<a href="{html.escape(portal)}">Go to the portal</a>' if portal else ""
    retry = f'<meta http-equiv="refresh" content="{refusal.retry_s}">' if refusal.retry_s else ""
    text = html.escape(Template(refusal.text).safe_substitute(why=why))
    return _PAGE.substitute(title=html.escape(refusal.title), text=text, link=link, retry=retry).encode()
