"""One module per resource: params, results and handlers.  Importing a module registers its methods."""

from importlib import import_module

MODULES = (
    "lifecycle",
    "workspaces",
    "assets",
    "uploads",
    "tags",
    "conversion_configs",
    "conversions",
    "authoring",
    "drafts",
    "reports",
    "jobs",
    "scripts",
    "outputs",
    "outputrows",
    "dashboard",
)


def register_all() -> None:
    """Import every module, so that the registry is complete."""
    for module in MODULES:
        import_module(f"{__name__}.{module}")
