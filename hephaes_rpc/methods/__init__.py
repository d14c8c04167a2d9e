"""One module per resource: params, results and handlers.  Importing a module registers its methods.

A sidecar answers ``initialize`` before it has imported most of them: the table says which module a method is in.
"""

from importlib import import_module

from hephaes_rpc.registry import REGISTRY

MODULES: dict[str, tuple[str, ...]] = {
    "lifecycle": (
        "initialize",
        "initialized",
        "shutdown",
        "exit",
        "$/cancelRequest",
        "$/setTrace",
        "health",
        "rpc.discover",
    ),
    "workspaces": (
        "workspaces/list",
        "workspaces/create",
        "workspaces/activate",
        "workspaces/delete",
        "workspaces/backup",
        "workspaces/restore",
        "workspaces/check",
    ),
    "assets": (
        "assets/register",
        "assets/scanDirectory",
        "assets/registerDialog",
        "assets/index",
        "assets/analyze",
        "assets/reindexAll",
        "assets/list",
        "assets/get",
    ),
    "uploads": (
        "assets/upload",
        "assets/uploadBegin",
        "assets/uploadChunk",
        "assets/uploadCommit",
        "assets/uploadAbort",
    ),
    "tags": (
        "tags/list",
        "tags/create",
        "assets/attachTag",
        "assets/detachTag",
    ),
    "conversion_configs": (
        "conversionConfigs/list",
        "conversionConfigs/get",
        "conversionConfigs/create",
        "conversionConfigs/update",
        "conversionConfigs/duplicate",
        "conversionConfigs/diff",
        "conversionConfigs/export",
        "conversionConfigs/import",
    ),
    "conversions": (
        "conversions/create",
        "conversions/list",
        "conversions/get",
        "conversions/capabilities",
    ),
    "authoring": (
        "conversions/inspect",
        "conversions/draft",
        "conversions/preview",
    ),
    "drafts": (
        "drafts/create",
        "drafts/list",
        "drafts/get",
        "drafts/update",
        "drafts/preview",
        "drafts/confirm",
        "drafts/discard",
        "drafts/saveConfig",
    ),
    "reports": ("assets/report",),
    "jobs": (
        "jobs/list",
        "jobs/get",
        "jobs/cancel",
        "jobs/retry",
        "jobs/logs",
    ),
    "scripts": (
        "scripts/list",
        "scripts/register",
        "scripts/check",
    ),
    "outputs": (
        "outputs/list",
        "outputs/get",
        "outputs/content",
    ),
    "outputrows": (
        "outputs/rows",
        "outputs/schema",
    ),
    "dashboard": (
        "dashboard/summary",
        "dashboard/trends",
        "dashboard/blockers",
    ),
}
"""The methods of each module, in the order in which they are registered."""

REGISTRY.elsewhere.update((name, f"{__name__}.{module}") for module, names in MODULES.items() for name in names)


def register_all() -> None:
    """Import every module, so that the registry is complete."""
    for module in MODULES:
        import_module(f"{__name__}.{module}")
