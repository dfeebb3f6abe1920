"""The activities: all I/O of conversations."""

if not __name__.startswith("tertulia."):
    raise ImportError(f"import tertulia.{__name__}, not {__name__}: a second name would load the module twice")
