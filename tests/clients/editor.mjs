// An editor-style client on vscode-jsonrpc alone, as docs/editors.md has it.  node editor.mjs LOG COMMAND...
// Prints one JSON object: what it saw.

import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.cwd(), "package.json"));
const rpc = require("vscode-jsonrpc/node");

const [log, workspace, program, ...args] = process.argv.slice(2);
const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
const errors = [];
const quiet = { error: (text) => errors.push(String(text)), warn() {}, info() {}, log() {} };
const connection = rpc.createMessageConnection(new rpc.StreamMessageReader(child.stdout), new rpc.StreamMessageWriter(child.stdin), quiet);
const jobs = new Map();
const told = [];
connection.onNotification("jobs/didChange", ({ job }) => jobs.get(job.id)?.(job));
connection.onProgress(new rpc.ProgressType(), "index-1", (value) => told.push(value.kind));
connection.listen();

const ended = (id) =>
  new Promise((done) => jobs.set(id, (job) => ["succeeded", "failed", "cancelled"].includes(job.status) && done(job)));

const hello = await connection.sendRequest("initialize", {
  processId: process.pid,
  clientInfo: { name: "editor" },
  rootUri: null,
  workspaceFolders: null,
  capabilities: {},
});
await connection.sendNotification("initialized", {});
const health = await connection.sendRequest("health");
const positional = await connection.sendRequest("workspaces/list", null).catch((error) => error.code);
await connection.sendRequest("workspaces/create", { root_path: workspace });
const asset = await connection.sendRequest("assets/register", { file_path: log });
await connection.sendRequest("assets/index", { asset_id: asset.id, workDoneToken: "index-1" });
const source = new rpc.CancellationTokenSource();
const reindexing = connection.sendRequest("assets/reindexAll", {}, source.token);
source.cancel();
const cancelled = await reindexing.then(() => "answered", (error) => error.code);
const conversion = await connection.sendRequest("conversions/create", { asset_ids: [asset.id] });
const job = await ended(conversion.job_id);
const missing = await connection.sendRequest("assets/get", { asset_id: "nobody" }).catch((error) => ({ code: error.code, kind: error.data.kind }));
await connection.sendRequest("shutdown");
await connection.sendNotification("exit");
const exit = await new Promise((done) => child.on("exit", (code, signal) => done(signal ?? code)));
console.log(JSON.stringify({ server: hello.serverInfo.name, health: health.status, positional, cancelled, told, job: job.status, missing, exit, errors }));
process.exit(0);
