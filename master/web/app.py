"""The application factory: subjects, errors, security."""

from __future__ import annotations

import secrets
from importlib import import_module

from flask import Flask, request
from flask_openapi3 import APIBlueprint, Info, OpenAPI
from flask_openapi3.models import HTTPBearer
from werkzeug.middleware.proxy_fix import ProxyFix

from common import __version__
from common.files import read_secret, write_secret
from common.logs import bind
from master.accounts import guard
from master.context import MasterContext
from master.web import docs, errors, flower, health, metrics, security, streams
from master.web.current import EXTENSION
from master.web.pages import register_filters, views as pages
