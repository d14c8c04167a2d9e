"""The generated files are those of this very code."""

import re
from pathlib import Path

from hephaes_rpc.errors import KINDS
from hephaes_rpc.methods import register_all
from hephaes_rpc.openrpc import document
from hephaes_rpc.registry import REGISTRY
from tools.protocol_docs import DOCS, openrpc_text, protocol

register_all()
TEXT = protocol(document())


def test_openrpc_json_is_fresh() -> None:
    assert (DOCS / "openrpc.json").read_text(encoding="utf-8") == openrpc_text(document()), "say `make docs`"


def test_protocol_md_is_fresh() -> None:
    assert (DOCS / "protocol.md").read_text(encoding="utf-8") == TEXT, "say `make docs`"


def test_it_documents_every_method_notification_and_kind() -> None:
    for name in (*REGISTRY.methods, *REGISTRY.outgoing):
        assert f"### `{name}`" in TEXT
    for kind, known in KINDS.items():
        assert f"| `{kind}` | {known.code} |" in TEXT
    for name, notification in REGISTRY.outgoing.items():
        what = "Request" if notification.request else "Notification"
        assert f"*{what} from the sidecar" in TEXT.partition(f"### `{name}`")[2].partition("###")[0]


def test_its_links_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^\w-]", "", line.lstrip("# ").lower().replace(" ", "-"))
        for line in re.findall(r"^#+ .*$", TEXT, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) <= headings


def test_the_docs_folder_says_nothing_of_this_machine() -> None:
    for path in sorted(Path(DOCS).iterdir()):
        assert not re.search(rb"/(tmp|root|work)/", path.read_bytes()), path.name
