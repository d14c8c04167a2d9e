// The sidecar as a child process of Node.

import { spawn, type ChildProcess, type SpawnOptions } from "node:child_process";
import { createMessageConnection, StreamMessageReader, StreamMessageWriter } from "vscode-jsonrpc/node";
import { HephaesClient } from "./client.js";

/** Starts a sidecar; its stderr goes to ours. Call `client.start()` next. */
export function spawnSidecar(
  command: readonly string[] = ["hephaes-rpc", "serve"],
  options: Omit<SpawnOptions, "stdio"> = {},
): { client: HephaesClient; process: ChildProcess } {
  const [program, ...args] = command;
  if (program === undefined) throw new Error("no command to start the sidecar with");
  const child = spawn(program, args, { ...options, stdio: ["pipe", "pipe", "inherit"] });
  if (child.stdout === null || child.stdin === null) throw new Error("no pipes to the sidecar");
  const reader = new StreamMessageReader(child.stdout);
  const writer = new StreamMessageWriter(child.stdin);
  return { client: new HephaesClient(createMessageConnection(reader, writer)), process: child };
}
