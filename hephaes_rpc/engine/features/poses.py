"""Poses as arrays, float64[n, 7]: x, y, z and the unit quaternion qx, qy, qz, qw of one frame in another."""

import numpy as np
from numpy.typing import NDArray

from hephaes_rpc.engine.timeline.blend import slerp

Poses = NDArray[np.float64]
POSE_NAMES = ("x", "y", "z", "qx", "qy", "qz", "qw")
IDENTITY = np.array([0, 0, 0, 0, 0, 0, 1], np.float64)


def compose(outer: Poses, inner: Poses) -> Poses:
    """The pose in the frame of ``outer`` of what has the pose ``inner`` in it; either may be one pose for all."""
    p, q = outer[..., :3], outer[..., 3:]
    return np.concatenate([p + rotated(q, inner[..., :3]), _unit(_product(q, inner[..., 3:]))], axis=-1)


def inverse(pose: Poses) -> Poses:
    """The pose of the outer frame in the inner one."""
    turned = pose[..., 3:] * np.array([-1.0, -1.0, -1.0, 1.0])
    return np.concatenate([-rotated(turned, pose[..., :3]), turned], axis=-1)


def rotated(q: Poses, v: Poses) -> Poses:
    """Vectors turned by unit quaternions."""
    axis, w = q[..., :3], q[..., 3:]
    across = 2 * np.cross(axis, v)
    turned: Poses = v + w * across + np.cross(axis, across)
    return turned


def between(lo: Poses, hi: Poses, weight: NDArray[np.float64]) -> Poses:
    """Positions on the line, orientations on the sphere the short way; weight 0 is ``lo`` bit for bit."""
    position = lo[:, :3] + weight[:, None] * (hi[:, :3] - lo[:, :3])
    found = np.concatenate([position, slerp(lo[:, 3:], hi[:, 3:], weight)], axis=1)
    return np.where((weight == 0)[:, None], lo, found)


def _product(a: Poses, b: Poses) -> Poses:
    ax, ay, az, aw = np.moveaxis(a, -1, 0)
    bx, by, bz, bw = np.moveaxis(b, -1, 0)
    return np.stack(
        np.broadcast_arrays(
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ),
        axis=-1,
    )


def _unit(q: Poses) -> Poses:
    unit: Poses = q / np.sqrt(np.sum(q * q, axis=-1, keepdims=True))
    return unit
