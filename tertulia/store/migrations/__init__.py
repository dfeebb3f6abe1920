"""Migrations, one file per step, applied by `tertulia migrate` and `tertulia up`."""
