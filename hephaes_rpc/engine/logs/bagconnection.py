"""Whether the declaration of a bag's connection is what was written: it holds its topic twice, and an MD5 sum."""

from hephaes_rpc.engine.logs.types import Connection
from hephaes_rpc.engine.messages.msgdef import MAX_TEXT_CHARS


def doubts(connection: Connection) -> int:
    """How many of topic and definition contradict what else the declaration says of them."""
    return int(connection.metadata.get("topic", connection.topic) != connection.topic) + int(
        not _is_sound(connection.type_name, connection.definition, connection.metadata.get("md5sum", ""))
    )


def _is_sound(type_name: str, definition: str, md5sum: str) -> bool:
    """Whether a definition has the sum that ROS1 gives it; one without a sum is taken as it is."""
    from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore

    if len(md5sum) != 32 or md5sum == 32 * "*":
        return True
    if len(definition) > MAX_TEXT_CHARS:
        return False
    try:
        store = get_typestore(Stores.EMPTY)
        store.register(get_types_from_msg(definition, type_name))
        return bool(store.generate_msgdef(type_name, ros_version=1)[1] == md5sum)
    except (TypesysError, RecursionError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return False
