"""The database's history: one file a step, applied by `tertulia migrate` and by `tertulia up`."""
