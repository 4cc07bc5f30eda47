"""The API under `/api/v1`: one file a resource, and the layer that makes calls and OpenAPI out of typed functions."""
