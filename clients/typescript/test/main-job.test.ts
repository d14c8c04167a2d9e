// The main job, from nothing to a dataset, against the real sidecar.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { CancellationTokenSource } from "vscode-jsonrpc/node";
import { ERROR_CODES, isRpcError, type Progress, type WorkDone } from "../src/client.js";
import { log, withSidecar } from "./sidecar.js";

test("a log becomes a dataset", { timeout: 120_000 }, async () => {
  await withSidecar(async (client, folder) => {
    const steps: Progress[] = [];
    const changed = new Set<string>();
    client.on("jobs/progress", (progress) => steps.push(progress));
    client.on("assets/didChange", ({ reason }) => changed.add(`assets ${reason}`));
    client.on("outputs/didChange", ({ reason }) => changed.add(`outputs ${reason}`));
    const hello = await client.start({ processId: process.pid, clientInfo: { name: "typescript" }, capabilities: {} });
    assert.ok(hello.capabilities.methods.includes("conversions/create"));
    assert.equal((await client.health()).status, "ok");

    await client.workspaces.create({ root_path: join(folder, "workspace") });
    const asset = await client.assets.register({ file_path: log });
    const told: WorkDone[] = [];
    const detail = await client.withProgress(
      (value) => told.push(value),
      (progress) => client.assets.index({ asset_id: asset.id, ...progress }),
    );
    assert.equal(detail.asset.indexing_status, "indexed");
    assert.ok((detail.metadata?.topic_count ?? 0) > 0);
    assert.equal(String(detail.metadata?.start_ns_str).length, 19);
    assert.equal(told[0]?.kind, "begin");
    assert.equal(told.at(-1)?.kind, "end");

    const conversion = await client.conversions.create({ asset_ids: [asset.id], output: { format: "parquet" } });
    const job = await client.waitForJob(conversion.job_id);
    assert.equal(job.status, "succeeded", job.error_message ?? "");
    assert.equal((await client.waitForJob(conversion.job_id)).id, job.id);
    assert.equal(steps.filter((step) => step.job_id === job.id).at(-1)?.percentage, 100);

    const outputs = await client.outputs.list({ conversion_id: conversion.id, role: "dataset" });
    const [output] = outputs.items;
    assert.ok(output !== undefined);
    const content = await client.outputs.content({ output_id: output.id, length: 4 });
    assert.equal(Buffer.from(content.data_base64, "base64").toString(), "PAR1");
    assert.deepEqual([...changed].sort().slice(0, 2), ["assets created", "assets updated"]);
  });
});

test("what is refused comes as a typed error", { timeout: 60_000 }, async () => {
  await withSidecar(async (client, folder) => {
    await assert.rejects(client.assets.list(), (error) => isRpcError(error, "not_initialized"));
    await client.start();
    await client.workspaces.create({ root_path: join(folder, "workspace") });
    await assert.rejects(client.assets.get({ asset_id: "nobody" }), (error) => {
      assert.ok(isRpcError(error, "asset_not_found"));
      assert.ok(!isRpcError(error, "job_not_found"));
      assert.equal(error.code, ERROR_CODES.asset_not_found);
      assert.equal(error.data.asset_id, "nobody");
      return true;
    });
    // @ts-expect-error a param is missing
    const wrong = client.assets.register({});
    await assert.rejects(wrong, (error) => isRpcError(error, "invalid_params") && error.data.errors[0]?.path === "file_path");
    await assert.rejects(client.waitForJob("nobody"), (error) => isRpcError(error, "job_not_found"));
    assert.ok(!isRpcError(new Error("another")));
  });
});

test("a cancelled call gets an answer", { timeout: 60_000 }, async () => {
  await withSidecar(async (client, folder) => {
    await client.start();
    await client.workspaces.create({ root_path: join(folder, "workspace") });
    await client.assets.register({ file_path: log });
    const source = new CancellationTokenSource();
    const reindexing = client.assets.reindexAll({}, { token: source.token });
    source.cancel();
    const outcome = await reindexing.catch((error: unknown) => error);
    assert.ok(isRpcError(outcome, "cancelled") || !(outcome instanceof Error), String(outcome));
  });
});
