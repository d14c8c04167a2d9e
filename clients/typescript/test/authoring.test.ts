// From a log that nobody has seen to a saved config and its dataset: inspect, draft, preview, confirm, save, convert.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { isRpcError, type WorkDone } from "../src/client.js";
import { log, withSidecar } from "./sidecar.js";

test("a log becomes a config and a dataset", { timeout: 120_000 }, async () => {
  await withSidecar(async (client, folder) => {
    const changed = new Set<string>();
    client.on("drafts/didChange", ({ reason }) => changed.add(`drafts ${reason}`));
    client.on("conversionConfigs/didChange", ({ reason }) => changed.add(`configs ${reason}`));
    await client.start();
    await client.workspaces.create({ root_path: join(folder, "workspace") });
    const asset = await client.assets.register({ file_path: log });

    const { inspection } = await client.conversions.inspect({ asset_id: asset.id, sample_n: 3 });
    const topics = Object.entries(inspection.topics);
    assert.ok(topics.length > 0);
    for (const [name, topic] of topics) {
      assert.ok(topic.sampled_message_count <= 3, name);
      assert.ok(Object.keys(topic.field_candidates).length > 0, name);
    }

    const wanted = { output_format: "parquet" as const, preview_rows: 4 };
    const { draft } = await client.conversions.draft({ asset_id: asset.id, draft_request: wanted });
    assert.ok(draft.preview_ready);
    assert.equal(draft.preview?.rows.length, 4);
    assert.ok(draft.trigger_topic !== null && draft.trigger_topic in inspection.topics);
    const { preview } = await client.conversions.preview({ asset_id: asset.id, spec: draft.spec, sample_n: 6, start_row: 2 });
    assert.deepEqual(preview.rows.slice(0, 2), draft.preview?.rows.slice(2));

    const told: WorkDone[] = [];
    const created = await client.withProgress(
      (value) => told.push(value),
      (progress) => client.drafts.create({ asset_id: asset.id, draft_request: { ...wanted, include_preview: false }, ...progress }),
    );
    assert.deepEqual([created.status, created.preview_ready, told.at(-1)?.kind], ["draft", false, "end"]);
    const draft_id = created.id;
    await assert.rejects(client.drafts.confirm({ draft_id }), (error) => isRpcError(error, "draft_not_previewed"));
    const shown = await client.drafts.preview({ draft_id, sample_n: 6, start_row: 2 });
    assert.deepEqual(shown.revision.preview?.rows, preview.rows);
    const spec = { ...draft.spec, schema: { name: "node", version: 2 } };
    const updated = await client.drafts.update({ draft_id, spec, label: "named" });
    assert.deepEqual([updated.revision_number, updated.preview_ready], [2, false]);
    assert.deepEqual(updated.revision.changes.map(({ path }) => path).sort(), ["/spec/schema/name", "/spec/schema/version"]);
    await client.drafts.preview({ draft_id });
    assert.equal((await client.drafts.confirm({ draft_id })).status, "confirmed");
    const saved = await client.drafts.saveConfig({ draft_id, name: "From Node" });
    assert.deepEqual([saved.draft.status, saved.draft.saved_config_id], ["saved", saved.config.id]);
    await assert.rejects(client.drafts.discard({ draft_id }), (error) => isRpcError(error, "draft_state"));
    const config = await client.conversionConfigs.get({ config_id: "from node" });
    assert.deepEqual([config.latest_preview_available, config.latest_preview?.rows.length], [true, 5]);
    assert.deepEqual(config.draft_revisions.map(({ revision_number }) => revision_number), [2, 1]);

    const conversion = await client.conversions.create({ asset_ids: [asset.id], saved_config_id: config.id, index_first: true });
    const job = await client.waitForJob(conversion.job_id);
    assert.equal(job.status, "succeeded", job.error_message ?? "");
    const [output] = (await client.outputs.list({ conversion_id: conversion.id, role: "dataset" })).items;
    assert.ok(output !== undefined);
    const rows = await client.outputs.rows({ output_id: output.id, limit: 8 });
    assert.deepEqual(
      rows.items.slice(2, 8),
      preview.rows.map((row) => ({ timestamp_ns: { __int64__: row.timestamp_ns_str }, ...row.field_data })),
    );
    assert.ok(["drafts created", "drafts updated", "configs created"].every((what) => changed.has(what)), [...changed].join());
  });
});
