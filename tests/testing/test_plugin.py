"""The harness that is shipped: fixtures, typed calls, what it says when something is wrong."""

from pathlib import Path

import pytest

from hephaes_rpc.client import take_frames
from hephaes_rpc.methods.assets import AssetParams, AssetsRegisterParams, assets_get, assets_index, assets_register
from hephaes_rpc.methods.conversions import ConversionsCreateParams, conversions_create
from hephaes_rpc.methods.jobs import JobsListParams, jobs_list
from hephaes_rpc.methods.lifecycle import health
from hephaes_rpc.testing import RpcError, Sidecar, TypedClient, frame
from hephaes_rpc.testing.plugin import SpawnSidecar, WriteLog

pytest_plugins = ["pytester"]


@pytest.mark.e2e
def test_the_main_job_in_types(hephaes_client: TypedClient, hephaes_mcap: WriteLog, hephaes_bag: WriteLog) -> None:
    assert hephaes_client.call(health).status == "ok"
    logs = [hephaes_mcap("drive.mcap", n=50, topics=("/imu",), compression="zstd"), hephaes_bag(n=50)]
    assets = [hephaes_client.call(assets_register, AssetsRegisterParams(file_path=str(log))) for log in logs]
    for asset in assets:
        detail = hephaes_client.call(assets_index, AssetParams(asset_id=asset.id))
        assert detail.metadata is not None
        assert detail.metadata.message_count == 50
        assert detail.metadata.start_ns is not None
        assert detail.metadata.start_ns > 2**53
    made = hephaes_client.call(conversions_create, ConversionsCreateParams(asset_ids=[asset.id for asset in assets]))
    job = hephaes_client.wait_for(made)
    assert job.status == "succeeded", job.error_message
    assert hephaes_client.wait_for(job) == job == hephaes_client.wait_for(job.id)
    assert job.id in [each.id for each in hephaes_client.call(jobs_list, JobsListParams()).items]
    with pytest.raises(RpcError, match="nobody") as refused:
        hephaes_client.call(assets_get, AssetParams(asset_id="nobody"))
    assert refused.value.data["kind"] == "asset_not_found"


@pytest.mark.e2e
def test_notifications_are_kept(hephaes_sidecar: Sidecar, hephaes_workspace: Path) -> None:
    change = hephaes_sidecar.wait_for("workspaces/didChange", lambda params: params["reason"] == "created")
    assert change in hephaes_sidecar.notifications("workspaces/didChange")
    assert hephaes_workspace.is_dir()


@pytest.mark.e2e
def test_a_silent_sidecar_is_told_with_its_stderr(hephaes_spawn: SpawnSidecar) -> None:
    sidecar = hephaes_spawn()
    with pytest.raises(AssertionError, match="no answer to request 'x'; sidecar silent"):
        sidecar.response("x", timeout=0.1)
    sidecar.close_stdin()
    with pytest.raises(AssertionError, match="sidecar ended with"):
        sidecar.wait_for("jobs/didChange")


@pytest.mark.e2e
def test_bytes_that_are_no_frame_fail_the_test_that_made_them(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys
        def test_noise(hephaes_spawn):
            sidecar = hephaes_spawn(command=[sys.executable, "-c", "print('hello')"])
            sidecar.wait()
        """
    )
    result = pytester.runpytest_subprocess("-q")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*bytes on stdout that are no frame*"])


def test_the_fixtures_are_told_by_pytest(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--fixtures", "-q")
    for name in ("spawn", "sidecar", "workspace", "client", "mcap", "bag"):
        result.stdout.fnmatch_lines([f"hephaes_{name} *"])


def test_the_plugin_costs_nothing_until_it_is_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys
        def test_imports():
            heavy = {"pyarrow", "rosbags", "mcap", "apsw", "pygls", "numpy", "cattrs"}
            assert not heavy & set(sys.modules)
        """
    )
    pytester.runpytest_subprocess("-q", "-p", "no:hypothesispytest").assert_outcomes(passed=1)


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_frames_are_taken_whole(size: int) -> None:
    messages = [{"id": 1, "result": "é\r\n\r\n"}, {"method": "x", "params": {}}, {"id": None}]
    bodies = [b"%b\n" % frame(message).partition(b"\r\n\r\n")[2] for message in messages]
    stream = b"".join(map(frame, bodies))
    buffer, found = bytearray(), []
    for at in range(0, len(stream), size):
        buffer += stream[at : at + size]
        taken, stray = take_frames(buffer)
        found += taken
        assert stray == b""
    assert (found, buffer) == (messages, b"")


@pytest.mark.parametrize(
    "noise",
    [
        b"hello",
        b"content-length: 3\r\n\r\n{}\n",
        b"Content-Length: x\r\n\r\n{}\n",
        b"Content-Length: 3\r\nContent-Type: x\r\n\r\n{}\n",
        b"Content-Length: 2\r\n\r\n{}",
        b"Content-Length: 3\r\n\r\n[]\n",
        b'Content-Length: 12\r\n\r\n{"a": NaN} \n',
    ],
)
def test_what_is_not_exactly_a_frame_is_stray(noise: bytes) -> None:
    good = frame(b"{}\n")
    messages, stray = take_frames(bytearray(good + noise))
    assert (messages, stray) == ([{}], noise)
