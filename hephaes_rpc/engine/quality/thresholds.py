"""Every number and name that decides what becomes a finding; docs/quality.md tells of them."""

import re
from collections.abc import Mapping

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

# -- which streams come at a steady rate -------------------------------------------------------------------------------

MIN_MESSAGES = 20
"""Nothing is said of the rate of fewer messages."""
MIN_SPAN_NS = NS_PER_S
"""...nor of what lasts no longer than this."""
MAX_SPREAD = 0.35
"""A steady stream's jitter is at most this share of its period."""
LOCKED = 0.6
"""Of the jitter of single periods, the share left in the jitter of LOCKED_OVER together (per square root of them)
below which stamps scatter about a steady beat instead of each period being a new throw."""
LOCKED_OVER = 8
TIGHT = 0.15
"""A jitter below this share of the period is steady anyway."""
ON_BEAT = 0.25
"""How far, in periods, a lost time may be from a whole number of periods."""
MIN_ON_BEAT = 0.7
"""Share of the lost times that must be near whole periods for them to be lost messages."""
FEW_LOSSES = 5
"""Below so many the share is not asked for."""
MAX_GAPS = 0.02
"""More gaps than this share of the periods: the stream comes and goes by nature."""

EVENT_TYPES = frozenset(
    (
        *("geometry_msgs/msg/Twist", "geometry_msgs/msg/TwistStamped", "geometry_msgs/msg/PoseWithCovarianceStamped"),
        *("sensor_msgs/msg/Joy", "sensor_msgs/msg/JoyFeedback", "sensor_msgs/msg/JoyFeedbackArray"),
        *("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage", "rosgraph_msgs/msg/Log", "rosgraph_msgs/msg/Clock"),
        *("std_msgs/msg/Empty", "bond/msg/Status", "nav_msgs/msg/Path", "nav_msgs/msg/OccupancyGrid"),
        *("nav_msgs/msg/GridCells", "nav_msgs/msg/MapMetaData", "map_msgs/msg/OccupancyGridUpdate"),
        *("foxglove.Log", "foxglove.FrameTransform", "foxglove.FrameTransforms", "foxglove.SceneUpdate"),
        *("foxglove_msgs/msg/Log", "foxglove_msgs/msg/FrameTransform", "foxglove_msgs/msg/SceneUpdate"),
    )
)
EVENT_PACKAGES = frozenset(
    (
        *("ackermann_msgs", "action_msgs", "actionlib_msgs", "composition_interfaces", "control_msgs"),
        *("diagnostic_msgs", "dynamic_reconfigure", "lifecycle_msgs", "rcl_interfaces", "rmw_dds_common"),
        *("rosbag2_interfaces", "statistics_msgs", "trajectory_msgs", "visualization_msgs"),
    )
)
_EVENT_NAMES = re.compile(
    r"(?:^|[/_])(?:cmd|cmds|command|commands|teleop|joy|goal|goals|event|events|rosout|keyboard|key|mouse|button|buttons"
    r"|trigger|feedback|status|result)(?:$|[/_])|cmd_?vel",
    re.IGNORECASE,
)


def comes_as_it_happens(topic: str, type_name: str) -> bool:
    """Whether a stream is known to come when something happens, however steadily it may come for a while."""
    package = type_name.partition("/")[0]
    return type_name in EVENT_TYPES or package in EVENT_PACKAGES or _EVENT_NAMES.search(topic) is not None


# -- what the index tells ----------------------------------------------------------------------------------------------

GAP_PERIODS = 5
MIN_GAP_NS = 500 * NS_PER_MS
"""A gap lasts longer than GAP_PERIODS periods and than this; shorter silences are missing messages."""
LOST = 0.5
"""A silence that no hurry makes up for, in periods beyond the one that is due: from here on a message is missing."""
HURRY = 0.25
"""A step shorter than the period by this share of it makes up for a long one."""
MISSING_WARNING = 0.001
"""Share of missing messages from which they are a warning."""
RACE_NS = 100 * NS_PER_MS
"""Messages of streams that several nodes may publish on overtake each other by less than this at no fault."""
JITTER_INFO, JITTER_WARNING = 0.1, 0.2
RATE_CHANGE = 1.33
"""A stretch whose period differs by this factor from that of the whole stream has another rate."""
MIN_STRETCH_NS = 2 * NS_PER_S
MIN_STRETCH_MESSAGES = 20
MIN_EDGE_NS = NS_PER_S
EDGE_PERIODS = 5
"""A stream is late, or ends early, by more than this many periods and than MIN_EDGE_NS."""
EDGE_WARNING = 0.1
"""Share of the log from which a late start or an early end is a warning."""
COARSE = 0.25
"""A clock whose ticks are longer than this share of a period puts messages on the same tick."""

# -- what messages tell ------------------------------------------------------------------------------------------------

MIN_STAMPS = 10
OFFSET_NS = NS_PER_S
OWN_CLOCK_NS = 100_000_000 * NS_PER_S
"""Stamps before this (1973), in a log after it, are of a clock that was never set."""
COMMON_OFFSET_NS = NS_PER_S
"""Streams whose offsets differ by less than this share a clock."""
JUMP_NS = 100 * NS_PER_MS
JUMP_DRIFTS = 20
"""A jump is this many times larger than the offset usually changes from message to message."""
LEAP = 0.2
"""A gap is a leap of the log's clock where stamps go on but for this share of it."""
LEVEL_MESSAGES = 5
LEVEL_NS = 10 * NS_PER_S
"""The offset on either side of a jump is the median over this time, of at least LEVEL_MESSAGES messages."""
SEQUENCE_STEPS = 0.5
"""``header.seq`` counts messages where more than this share of its steps is 1..."""
SEQUENCE_RESETS = 0.01
"""...and at most this share is no rise."""
MAX_SEQUENCE_STEP = 10_000
FROZEN_FRAMES = 10
FROZEN_NS = NS_PER_S
FROZEN_LEAST = 3
"""Equal frames are frozen from FROZEN_FRAMES on, or when FROZEN_LEAST of them last FROZEN_NS; fewer are repeated."""
MIN_FRAME_BYTES = 16
STUCK_MESSAGES = 50
STUCK_NS = NS_PER_S
LIVELY = 0.8
"""Share of the steps outside a stuck stretch in which the field changes."""

NONFINITE_IS_MEANT: Mapping[str, tuple[str, ...]] = {
    "sensor_msgs/msg/LaserScan": ("ranges", "intensities"),
    "sensor_msgs/msg/MultiEchoLaserScan": ("ranges", "intensities"),
    "sensor_msgs/msg/LaserEcho": ("echoes",),
    "sensor_msgs/msg/Range": ("range",),
    "sensor_msgs/msg/BatteryState": ("",),
    "sensor_msgs/msg/NavSatFix": ("latitude", "longitude", "altitude", "position_covariance"),
    "sensor_msgs/msg/PointCloud": ("points", "channels"),
    "sensor_msgs/msg/JointState": ("effort",),
    "foxglove.LaserScan": ("ranges", "intensities"),
    "foxglove_msgs/msg/LaserScan": ("ranges", "intensities"),
}
"""Fields in which NaN or infinity has a meaning, by their types' own documentation; "" is all."""

MEASURED: Mapping[str, tuple[str, ...]] = {
    "sensor_msgs/msg/Imu": (
        *("angular_velocity.x", "angular_velocity.y", "angular_velocity.z"),
        *("linear_acceleration.x", "linear_acceleration.y", "linear_acceleration.z"),
    ),
    "sensor_msgs/msg/MagneticField": ("magnetic_field.x", "magnetic_field.y", "magnetic_field.z"),
    "sensor_msgs/msg/FluidPressure": ("fluid_pressure",),
    "sensor_msgs/msg/NavSatFix": ("latitude", "longitude"),
    "geometry_msgs/msg/WrenchStamped": (
        *("wrench.force.x", "wrench.force.y", "wrench.force.z"),
        *("wrench.torque.x", "wrench.torque.y", "wrench.torque.z"),
    ),
    "geometry_msgs/msg/AccelStamped": ("accel.linear.x", "accel.linear.y", "accel.linear.z"),
}
"""Fields that hold what a sensor measures, noise included: in them the same value again and again is a defect."""

# -- how much is told --------------------------------------------------------------------------------------------------

MAX_PLACES = 10
"""Findings of one kind on one topic that are told one by one, the largest."""
