"""What kinds of messages the inputs of ``decode`` may hold."""

# (message encoding, schema encoding, ROS generation); the first byte of an input chooses.
ENCODINGS = (
    ("ros1", "ros1msg", 1),
    ("cdr", "ros2msg", 2),
    ("cdr", "ros2idl", 2),
    ("json", "jsonschema", 2),
    ("json", "", 2),
    ("protobuf", "protobuf", 2),
    ("cdr", "", 2),
)
