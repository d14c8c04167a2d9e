// The reader and writer of a Tauri page: over chunks cut anywhere, and over the real sidecar behind the plugin's shape.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Message } from "vscode-jsonrpc";
import { createMessageConnection } from "vscode-jsonrpc/node";
import { ChunkReader, Frames, connectTauri, type Chunk, type ShellCommand } from "../src/tauri.js";

const command = JSON.parse(process.env["HEPHAES_SERVE"] ?? '["hephaes-rpc", "serve"]') as string[];

const texts = ["", "é ü 漢字 🤖", "\r\n\r\nContent-Length: 3\r\n\r\n", "x".repeat(3000)];
const messages = texts.map((text, id) => ({ jsonrpc: "2.0", id, result: text }));
const stream = Buffer.concat(
  messages.map((message) => {
    const body = Buffer.from(`${JSON.stringify(message)}\n`);
    return Buffer.concat([Buffer.from(`Content-Length: ${body.length}\r\n\r\n`), body]);
  }),
);

function cut(size: number): Chunk[] {
  const chunks: Chunk[] = [];
  for (let at = 0; at < stream.length; at += size) chunks.push(stream.subarray(at, at + size));
  return chunks;
}

test("frames come whole from chunks of any size", () => {
  for (const size of [1, 2, 3, 7, 64, 1000, stream.length]) {
    const frames = new Frames();
    assert.deepEqual(cut(size).flatMap((chunk) => frames.push(chunk)), messages, `chunks of ${size}`);
  }
  for (let at = 0; at <= stream.length; at += 1) {
    const frames = new Frames();
    const found = [...frames.push(stream.subarray(0, at)), ...frames.push([...stream.subarray(at)])];
    assert.deepEqual(found, messages, `cut at ${at}`);
  }
});

test("a large body costs one pass", { timeout: 20_000 }, () => {
  const body = Buffer.from(`${JSON.stringify({ jsonrpc: "2.0", id: 1, result: "y".repeat(8 << 20) })}\n`);
  const whole = Buffer.concat([Buffer.from(`Content-Length: ${body.length}\r\n\r\n`), body]);
  const frames = new Frames();
  const found: Message[] = [];
  for (let at = 0; at < whole.length; at += 8192) found.push(...frames.push(whole.subarray(at, at + 8192)));
  assert.equal(found.length, 1);
});

test("what is no frame ends the connection", () => {
  const reader = new ChunkReader();
  const seen: string[] = [];
  reader.onError((error) => seen.push(error.message));
  reader.onClose(() => seen.push("closed"));
  reader.push(Buffer.from("hello\r\n\r\n"));
  assert.deepEqual(seen, ["no frame: hello", "closed"]);
});

test("messages wait until somebody listens", () => {
  const reader = new ChunkReader();
  reader.push(stream);
  const seen: Message[] = [];
  reader.listen((message) => seen.push(message));
  assert.deepEqual(seen, messages);
});

/** The real process behind the shape of the plugin's Command, as it hands out raw chunks of at most 8 KiB. */
function shell(program: string, args: string[], folder: string): { command: ShellCommand; exited: () => Promise<unknown> } {
  const listeners: ((chunk: Chunk) => void)[] = [];
  const ends: ((end: { code: number | null; signal: number | null }) => void)[] = [];
  let exited: () => Promise<unknown> = () => Promise.reject(new Error("not started"));
  const wrapped: ShellCommand = {
    stdout: { on: (_, listener) => listeners.push(listener) },
    on: (event: string, listener: (value: never) => void) => {
      if (event === "close") ends.push(listener as (typeof ends)[number]);
    },
    spawn: () => {
      const env = { ...process.env, HEPHAES_BACKEND_DATA_DIR: join(folder, "data") };
      const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"], env });
      const exit = once(child, "exit");
      exited = () => exit;
      child.stdout.on("data", (data: Buffer) => {
        for (let at = 0; at < data.length; at += 8192) {
          for (const listener of listeners) listener([...data.subarray(at, at + 8192)]);
        }
      });
      child.on("close", (code) => ends.forEach((end) => end({ code, signal: null })));
      const write = (data: number[]) =>
        new Promise<void>((done, failed) => child.stdin.write(Buffer.from(data), (error) => (error ? failed(error) : done())));
      return Promise.resolve({ write });
    },
  };
  return { command: wrapped, exited: () => exited() };
}

test("a page talks to the real sidecar", { timeout: 60_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "hephaes-"));
  const [program = "", ...args] = command;
  const { command: wrapped, exited } = shell(program, args, folder);
  const client = await connectTauri(wrapped, createMessageConnection);
  let closed = false;
  client.connection.onClose(() => (closed = true));
  await client.start({ capabilities: { window: { openFileDialog: true } } });
  const heard = new Promise((done) => client.on("workspaces/didChange", done));
  await client.workspaces.create({ root_path: join(folder, "workspace 漢字") });
  await heard;
  const all = await Promise.all(Array.from({ length: 100 }, () => client.workspaces.list()));
  assert.ok(all.every((page) => page.items[0]?.name === "workspace 漢字"));
  const asked: string[] = [];
  client.onRequest("window/openFileDialog", ({ title, filters }) => {
    asked.push(title, ...filters.flatMap((filter) => filter.extensions));
    return Promise.resolve({ file_paths: [process.env["HEPHAES_LOG"] ?? ""] });
  });
  const chosen = await client.assets.registerDialog();
  assert.equal(chosen.registered_assets.length, 1);
  assert.ok(asked.includes("mcap"));
  const api = await client.discover();
  assert.ok(Array.isArray(api["methods"]));
  await client.stop();
  assert.deepEqual(await exited(), [0, null]);
  await new Promise((soon) => setTimeout(soon, 50));
  assert.ok(closed);
  rmSync(folder, { recursive: true, force: true });
});
