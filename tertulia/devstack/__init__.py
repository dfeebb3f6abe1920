"""One machine, no Docker: embedded Temporal, embedded Postgres, the offline model, workers.

Import from `tertulia.devstack.stack`: the package itself loads nothing, so that its small programs start fast.
"""
