"""First bytes of the files that are read as logs."""

from typing import Final

BAG_MAGIC: Final = b"#ROSBAG V2.0\n"
MCAP_MAGIC: Final = b"\x89MCAP0\r\n"
SQLITE_MAGIC: Final = b"SQLite format 3\x00"
