"""The embedded stack on one machine without Docker: Temporal, Postgres, the offline model, workers, the API.

Import from `tertulia.devstack.stack`: the package itself loads nothing, so that its small programs start fast.
"""
