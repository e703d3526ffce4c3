# SPDX-License-Identifier: Apache-2.0
"""Devices, models and deployments as an RDF graph: a projection of the SQL store that answers
SPARQL. Losing it loses nothing: `fleet graph rebuild` makes it again."""
