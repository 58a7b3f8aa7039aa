"""What gunicorn serves: `gunicorn master.web.wsgi:app`."""

from common.logs import configure
from common.settings import settings
from master.context import make_context
from master.web.app import create_app

_settings = settings()
configure(_settings.log_level, json_lines=_settings.log_format == "json", process="web")
app = create_app(make_context(_settings))
