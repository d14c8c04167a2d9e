import multiprocessing
import threading
from pathlib import Path
from typing import Any, get_args

import pytest

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.assets import Asset
from hephaes_rpc.model.jobs import FINAL, Job, JobError, JobStatus, Progress
from hephaes_rpc.store.joblogs import NewLine
from hephaes_rpc.store.leases import Lease, LeaseLostError
from hephaes_rpc.store.workspace import OpenWorkspace

STATUSES = get_args(JobStatus)


def job_in(workspace: OpenWorkspace, asset: Asset, status: JobStatus) -> Job:
    job = workspace.jobs.create("index", [asset.id], {"trigger": "index_asset"}, {"n": 2**60})
    if status == "queued":
        return job
    running = workspace.jobs.claim_job(job.id, "me")
    assert running is not None
    if status == "running":
        return running
    changed = workspace.jobs.transition(job.id, expect=("running",), to=status)
    assert changed is not None
    return changed


def attempts(workspace: OpenWorkspace, job: Job) -> list[tuple[Any, ...]]:
    with workspace.db.read() as session:
        return session.all(
            "SELECT attempt, owner, worker_pid, outcome, error ->> '$.kind', signal FROM job_attempts WHERE job_id = ?"
            " ORDER BY attempt",
            (job.id,),
        )


def progress(job: Job, percentage: int) -> Progress:
    return Progress(job.id, "running", "write", percentage, 100, "rows", percentage, 2.5, None, None)


def test_a_created_job_waits(workspace: OpenWorkspace, asset: Asset) -> None:
    other = workspace.assets.register(Path("/logs/b.bag"), 1, 1)
    job = workspace.jobs.create("index", [other.id, asset.id], {"a": 1}, {"n": 2**60}, max_attempts=5)
    assert (job.type, job.status, job.attempt, job.max_attempts) == ("index", "queued", 0, 5)
    assert job.target_asset_ids_json == [other.id, asset.id]
    assert (job.config_json, job.started_at, job.finished_at, job.progress, job.error) == ({"a": 1}, *[None] * 4)
    assert workspace.jobs.get(job.id) == job
    assert workspace.jobs.payload(job.id) == {"n": 2**60}
    assert workspace.jobs.counts() == {"queued": 1, "running": 0}


def test_unknown_ids_are_named(workspace: OpenWorkspace, asset: Asset) -> None:
    for read in (workspace.jobs.get, workspace.jobs.payload):
        with pytest.raises(HephaesError, match="no job has the id nobody") as refusal:
            read("nobody")
        assert refusal.value.kind == "job_not_found"
    with pytest.raises(HephaesError, match="no asset has the id nobody") as refusal:
        workspace.jobs.create("index", [asset.id, "nobody", "other"], {}, {})
    assert refusal.value.kind == "asset_not_found"
    assert workspace.jobs.list().total == 0
    assert workspace.jobs.transition("nobody", expect=STATUSES, to="failed") is None
    assert workspace.jobs.claim_job("nobody", "me") is None


def test_the_oldest_of_the_most_urgent_is_claimed_first(workspace: OpenWorkspace, asset: Asset) -> None:
    jobs = workspace.jobs
    low = jobs.create("analyze", [asset.id], {}, {}, priority=-1)
    first, second = (jobs.create("index", [asset.id], {}, {}) for _ in range(2))
    claimed = [jobs.claim("me") for _ in range(4)]
    assert [job.id if job else None for job in claimed] == [first.id, second.id, low.id, None]
    assert claimed[0] is not None
    assert (claimed[0].status, claimed[0].attempt) == ("running", 1)
    assert claimed[0].started_at is not None
    assert jobs.counts() == {"queued": 0, "running": 3}


@pytest.mark.parametrize("status", STATUSES)
def test_only_a_queued_job_can_be_claimed(workspace: OpenWorkspace, asset: Asset, status: JobStatus) -> None:
    job = job_in(workspace, asset, status)
    assert (workspace.jobs.claim_job(job.id, "other") is not None) == (status == "queued")


@pytest.mark.parametrize("status", STATUSES)
def test_transitions_are_guarded(workspace: OpenWorkspace, asset: Asset, status: JobStatus) -> None:
    job = job_in(workspace, asset, status)
    others = tuple(other for other in STATUSES if other != status)
    assert workspace.jobs.transition(job.id, expect=others, to="failed") is None
    assert workspace.jobs.transition(job.id, expect=(), to="failed") is None
    assert workspace.jobs.get(job.id) == job
    changed = workspace.jobs.transition(job.id, expect=(status,), to="failed")
    assert changed is not None
    assert changed.status == "failed"


@pytest.mark.parametrize("to", [status for status in STATUSES if status != "running"])
def test_what_a_transition_sets(workspace: OpenWorkspace, asset: Asset, to: JobStatus) -> None:
    job = job_in(workspace, asset, "running")
    workspace.jobs.set_worker(job.id, "me", 77)
    workspace.jobs.save_progress(job.id, progress(job, 10))
    error = JobError("worker_died", "killed by SIGKILL", None, {"n": 1})
    changed = workspace.jobs.transition(job.id, expect=("running",), to=to, error=error, signal="SIGKILL")
    assert changed == workspace.jobs.get(job.id)
    assert changed is not None
    assert (changed.status, changed.error, changed.error_message) == (to, error, "killed by SIGKILL")
    assert (changed.signal, changed.progress) == ("SIGKILL", progress(job, 10))
    assert (changed.finished_at is not None) == (to in FINAL)
    assert changed.started_at == job.started_at
    if to == "cancelling":
        assert attempts(workspace, job) == [(1, "me", 77, None, None, None)]
        assert workspace.jobs.orphans(lambda owner: owner != "me") == [changed]
    else:
        assert attempts(workspace, job) == [(1, "me", 77, to, "worker_died", "SIGKILL")]
        assert workspace.jobs.orphans(lambda _: False) == []


def test_a_job_runs_by_being_claimed_only(workspace: OpenWorkspace, asset: Asset) -> None:
    job = job_in(workspace, asset, "queued")
    with pytest.raises(ValueError, match="claim"):
        workspace.jobs.transition(job.id, expect=("queued",), to="running")


def test_every_attempt_is_kept(workspace: OpenWorkspace, asset: Asset) -> None:
    jobs = workspace.jobs
    job = job_in(workspace, asset, "interrupted")
    assert jobs.transition(job.id, expect=("interrupted",), to="queued") is not None
    again = jobs.claim("other")
    assert again is not None
    assert (again.id, again.attempt, again.started_at, again.error, again.progress) == (
        job.id,
        2,
        job.started_at,
        None,
        None,
    )
    jobs.transition(job.id, expect=("running",), to="succeeded", progress=progress(job, 100))
    assert jobs.get(job.id).progress == progress(job, 100)
    assert attempts(workspace, job) == [
        (1, "me", None, "interrupted", None, None),
        (2, "other", None, "succeeded", None, None),
    ]


def test_progress_and_worker_belong_to_a_job_at_work(workspace: OpenWorkspace, asset: Asset) -> None:
    done = job_in(workspace, asset, "succeeded")
    workspace.jobs.save_progress(done.id, progress(done, 10))
    workspace.jobs.set_worker(done.id, "me", 1)
    workspace.jobs.heartbeat("me")
    assert workspace.jobs.get(done.id) == done
    running = job_in(workspace, asset, "running")
    workspace.jobs.set_worker(running.id, "somebody else", 1)
    assert attempts(workspace, running) == [(1, "me", None, None, None, None)]
    workspace.jobs.heartbeat("me")
    assert workspace.jobs.get(running.id) == running


def test_orphans_are_jobs_of_dead_owners(workspace: OpenWorkspace, asset: Asset) -> None:
    jobs = workspace.jobs
    made = [jobs.create("index", [asset.id], {}, {}) for _ in range(4)]
    for job, owner in zip(made, ("dead", "alive", "dead", "dead"), strict=True):
        jobs.claim_job(job.id, owner)
    jobs.transition(made[2].id, expect=("running",), to="cancelling")
    jobs.transition(made[3].id, expect=("running",), to="failed")
    asked = []

    def is_alive(owner: str) -> bool:
        asked.append(owner)
        return owner == "alive"

    assert [job.id for job in jobs.orphans(is_alive)] == [made[0].id, made[2].id]
    assert sorted(asked) == ["alive", "dead"]


def test_an_asset_has_one_index_job_at_a_time(workspace: OpenWorkspace, asset: Asset) -> None:
    jobs = workspace.jobs
    other = workspace.assets.register(Path("/logs/b.bag"), 1, 1)
    job_in(workspace, asset, "failed")
    job, is_new = jobs.index_once(asset.id, {"trigger": "x"}, {"n": 1})
    assert (is_new, job.status, job.config_json, jobs.payload(job.id)) == (True, "queued", {"trigger": "x"}, {"n": 1})
    assert jobs.claim_job(job.id, "me") is not None
    assert jobs.index_once(asset.id, {}, {}) == (jobs.get(job.id), False)
    assert jobs.index_once(other.id, {}, {})[1]


def claim_all(workspace: OpenWorkspace, owner: str) -> list[str]:
    found = []
    while job := workspace.jobs.claim(owner):
        found.append(job.id)
        workspace.jobs.transition(job.id, expect=("running",), to="succeeded")
    return found


def _claim_in_process(root: str, owner: str, barrier: Any, results: Any) -> None:
    workspace = OpenWorkspace("ws", "ws", Path(root))
    barrier.wait()
    results.put((claim_all(workspace, owner), register_all(workspace)))
    workspace.close()


def register_all(workspace: OpenWorkspace) -> list[str]:
    kinds = []
    for n in range(40):
        try:
            workspace.assets.register(Path(f"/logs/shared/{n}.bag"), 1, 1)
            kinds.append("registered")
        except HephaesError as error:
            kinds.append(error.kind)
    return kinds


def test_threads_run_each_job_once(workspace: OpenWorkspace, asset: Asset) -> None:
    made = [workspace.jobs.create("index", [asset.id], {}, {}).id for _ in range(60)]
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda n=n: found.append(claim_all(workspace, f"owner {n}"))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(job for jobs in found for job in jobs) == sorted(made)


def test_processes_run_each_job_and_register_each_file_once(workspace: OpenWorkspace, asset: Asset) -> None:
    made = [workspace.jobs.create("index", [asset.id], {}, {}).id for _ in range(60)]
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=_claim_in_process, args=(str(workspace.root), name, barrier, results)) for name in "ab"
    ]
    for process in processes:
        process.start()
    outcomes = [results.get(timeout=30) for _ in processes]
    for process in processes:
        process.join(30)
    assert sorted(job for jobs, _ in outcomes for job in jobs) == sorted(made)
    for kinds in zip(*(kinds for _, kinds in outcomes), strict=True):
        assert sorted(kinds) == ["asset_already_registered", "registered"]
    assert {job.status for job in workspace.jobs.list().items} == {"succeeded"}


def failed_conversion(workspace: OpenWorkspace, asset: Asset) -> Job:
    payload = {"assets": [{"asset_id": asset.id}], "overwrite": False}
    made = workspace.conversions.create([asset.id], {}, payload, output_path=str(workspace.outputs_dir / "x"))
    job = workspace.jobs.claim_job(made.job_id, "me")
    assert job is not None
    changed = workspace.jobs.transition(job.id, expect=("running",), to="failed", error=JobError("bad_input", "no"))
    assert changed is not None
    return changed


@pytest.mark.parametrize("kind", ["index", "convert"])
def test_of_two_who_retry_a_job_at_once_one_succeeds(workspace: OpenWorkspace, asset: Asset, kind: str) -> None:
    other = OpenWorkspace("other", "other", workspace.root)
    for _ in range(15):
        if kind == "convert":
            job = failed_conversion(workspace, asset)
        else:
            job = workspace.jobs.create("index", [asset.id], {}, {"assets": [{"asset_id": asset.id}]})
            workspace.jobs.transition(job.id, expect=("queued",), to="cancelled")
        barrier, made, refused = threading.Barrier(2), [], []

        def retry(
            of: OpenWorkspace, job_id: str, barrier: Any = barrier, made: Any = made, refused: Any = refused
        ) -> None:
            barrier.wait()
            try:
                made.append(of.jobs.retry(job_id))
            except HephaesError as error:
                refused.append(error)

        threads = [threading.Thread(target=retry, args=(each, job.id)) for each in (workspace, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [(len(made), [each.kind for each in refused])] == [(1, ["job_not_finished"])]
        assert refused[0].data["job_id"] == made[0].id
        assert (made[0].retry_of, made[0].status) == (job.id, "queued")
        if kind == "convert":
            conversion_id = workspace.conversions.of_job(made[0].id)
            assert conversion_id is not None
            assert workspace.conversions.get(conversion_id).job.id == made[0].id
            assert workspace.jobs.payload(made[0].id)["overwrite"] is True
        workspace.jobs.transition(made[0].id, expect=("queued",), to="cancelled")
    other.close()


def test_a_claimed_index_job_and_its_asset_change_as_one(workspace: OpenWorkspace, asset: Asset) -> None:
    job = workspace.jobs.create("index", [asset.id], {}, {})
    seen = set()
    done = threading.Event()

    def look() -> None:
        other = OpenWorkspace("other", "other", workspace.root)
        while not done.is_set():
            with other.db.read() as session:
                seen.add(
                    session.one("SELECT j.status, a.indexing_status FROM jobs j, assets a WHERE j.id = ?", (job.id,))
                )
        other.close()

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(40):
        assert workspace.jobs.claim_job(job.id, "me") is not None
        workspace.jobs.transition(job.id, expect=("running",), to="interrupted")
        workspace.jobs.transition(job.id, expect=("interrupted",), to="queued")
    done.set()
    thread.join()
    assert seen <= {("queued", "pending"), ("running", "indexing"), ("interrupted", "pending")}


def test_a_job_waits_for_what_it_needs(workspace: OpenWorkspace, asset: Asset) -> None:
    jobs = workspace.jobs
    index, is_new = jobs.index_once(asset.id, {}, {"assets": []})
    assert (is_new, jobs.index_once(asset.id, {}, {})) == (True, (index, False))
    payload = {"assets": [{"asset_id": asset.id}], "overwrite": False}
    made = workspace.conversions.create([asset.id], {}, payload, output_path="/x", needs=[index.id])
    claimed = jobs.claim("me")
    assert claimed is not None
    assert claimed.id == index.id
    assert jobs.claim("me") is None
    assert jobs.claim_job(made.job_id, "me") is None
    why = JobError("bad_input", "cut off")
    jobs.settle(index.id, expect=("running",), to="failed", error=why, failed_asset_id=asset.id)
    assert workspace.assets.get(asset.id).indexing_status == "failed"
    assert jobs.held_back() == [(made.job_id, index.id, "failed", why)]
    jobs.transition(made.job_id, expect=("queued",), to="failed", error=why)
    again = jobs.retry(made.job_id)
    indexing, is_new = jobs.index_once(asset.id, {}, {})
    assert not is_new
    assert indexing.retry_of == index.id
    assert jobs.claim_job(again.id, "me") is None
    assert jobs.claim_job(indexing.id, "me") is not None
    jobs.transition(indexing.id, expect=("running",), to="succeeded")
    assert jobs.claim_job(again.id, "me") is not None


def test_an_analysis_that_is_asked_for_goes_before_those_that_are_not(workspace: OpenWorkspace, asset: Asset) -> None:
    other = workspace.assets.register(Path("/logs/b.bag"), 1, 1)
    first, second = (workspace.jobs.analyze_once(each.id, {}, {}, again=False) for each in (asset, other))
    assert first is not None
    assert second is not None
    assert workspace.jobs.analyze_once(other.id, {}, {}, again=True) == (second[0], False)
    found = [workspace.jobs.claim("me"), workspace.jobs.claim("me")]
    assert [job.id if job else None for job in found] == [second[0].id, first[0].id]


def test_urgent_types_go_first_and_may_be_chosen(workspace: OpenWorkspace, asset: Asset) -> None:
    analyze, convert, index = (workspace.jobs.create(t, [asset.id], {}, {}) for t in ("analyze", "convert", "index"))  # type: ignore[arg-type]
    found = [workspace.jobs.claim("me", ("convert", "analyze")), *(workspace.jobs.claim("me") for _ in range(2))]
    assert [job.id if job else None for job in found] == [convert.id, index.id, analyze.id]


def test_a_lease_is_held_by_its_owner_in_its_attempt(workspace: OpenWorkspace, asset: Asset) -> None:
    job = job_in(workspace, asset, "running")
    for owner, attempt, good in (("me", 1, True), ("you", 1, False), ("me", 2, False)):
        lease = Lease(job.id, owner, attempt)
        with workspace.db.read() as session:
            if good:
                lease.hold(session)
            else:
                with pytest.raises(LeaseLostError):
                    lease.hold(session)
        found = workspace.jobs.settle(job.id, expect=("running",), to="interrupted", lease=lease)
        assert (found is not None) == good
        if found is not None:
            job = job_in(workspace, asset, "running")


def test_an_interrupted_job_is_left_alone_for_a_while(workspace: OpenWorkspace, asset: Asset) -> None:
    now, later, set_back = (job_in(workspace, asset, "running") for _ in range(3))
    for job, wait_us in ((now, None), (later, 50_000_000), (set_back, 3600_000_000)):
        workspace.jobs.settle(job.id, expect=("running",), to="interrupted", wait_us=wait_us)
    assert {job.id for job in workspace.jobs.due()} == {now.id, set_back.id}


def test_a_log_keeps_its_newest_lines_in_pages(workspace: OpenWorkspace, asset: Asset) -> None:
    job = job_in(workspace, asset, "queued")
    for begin in range(0, 2500, 500):
        attempt = 1 + begin // 1000
        lines = [NewLine(attempt, n, "info", "worker", f"line {n}") for n in range(begin, begin + 500)]
        workspace.job_logs.add(job.id, lines)
    page = workspace.job_logs.page(job.id, 500)
    assert (page.total, page.items[0].text, page.items[0].number) == (2000, "line 500", 501)
    texts = [line.text for line in page.items]
    while page.next_cursor is not None:
        page = workspace.job_logs.page(job.id, 500, int(page.next_cursor))
        texts += [line.text for line in page.items]
    assert texts == [f"line {n}" for n in range(500, 2500)]
    assert workspace.job_logs.page(job.id, 10, attempt=3).total == 500
    workspace.job_logs.add("nobody", [NewLine(1, 1, "info", "worker", "x")])
    assert workspace.job_logs.page("nobody", 10).total == 0
