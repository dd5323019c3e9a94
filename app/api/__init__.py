"""Door: JSON over HTTP. Parses, authenticates, calls one flow, renders. No decision is taken here."""

from app.api import asking, documents, governance, operations

ROUTERS = (asking.router, documents.router, governance.router, operations.router)
