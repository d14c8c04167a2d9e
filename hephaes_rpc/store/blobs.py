"""Contents that are written once and named by their SHA-256."""

import hashlib

from hephaes_rpc.store.db import Session


def store_blob(session: Session, data: bytes, now: int) -> str:
    """Keep ``data`` once, under the SHA-256 that is returned; a damaged copy of it is mended."""
    sha256 = hashlib.sha256(data).hexdigest()
    session.run(
        "INSERT INTO blobs (sha256, data, created_at) VALUES (?, ?, ?)"
        " ON CONFLICT (sha256) DO UPDATE SET data = excluded.data WHERE data <> excluded.data",
        (sha256, data, now),
    )
    return sha256
