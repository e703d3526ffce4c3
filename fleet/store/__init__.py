# SPDX-License-Identifier: Apache-2.0
"""The truth, in SQL: SQLite by default, PostgreSQL by URL, the same statements for both.

`Store` gives transactions; every other module here is functions of one noun over a connection.
"""

from fleet.store.engine import Connection, Store

__all__ = ["Connection", "Store"]
