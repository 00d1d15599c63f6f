"""The routers of the API, one file for each resource."""
