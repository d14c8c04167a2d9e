// A real sidecar with a data folder of its own. HEPHAES_SERVE is its command, HEPHAES_LOG a log.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { HephaesClient } from "../src/client.js";
import { spawnSidecar } from "../src/node.js";

const command = JSON.parse(process.env["HEPHAES_SERVE"] ?? '["hephaes-rpc", "serve"]') as string[];
export const log = process.env["HEPHAES_LOG"] ?? "";

export async function withSidecar(run: (client: HephaesClient, folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "hephaes-"));
  const env = { ...process.env, HEPHAES_BACKEND_DATA_DIR: join(folder, "data") };
  const { client, process: child } = spawnSidecar(command, { env });
  try {
    await run(client, folder);
    const exited = once(child, "exit");
    await client.stop();
    assert.deepEqual(await exited, [0, null]);
  } finally {
    child.kill("SIGKILL");
    client.connection.dispose();
    rmSync(folder, { recursive: true, force: true });
  }
}
