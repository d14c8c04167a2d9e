// What a Tauri page needs to sit on the shell plugin's raw stdout: chunks of bytes in, messages out, and back.
//
//   import { Command } from "@tauri-apps/plugin-shell";
//   import { createMessageConnection } from "vscode-jsonrpc/browser";
//   const command = Command.sidecar("binaries/hephaes-rpc", ["serve"], { encoding: "raw" });
//   const client = await connectTauri(command, createMessageConnection);
//   await client.start();

import type {
  DataCallback,
  Disposable,
  Event,
  Message,
  MessageConnection,
  MessageReader,
  MessageWriter,
  PartialMessageInfo,
} from "vscode-jsonrpc";
import { HephaesClient } from "./client.js";

/** What the plugin hands out with `encoding: "raw"`: bytes, as a typed array or as a list of numbers. */
export type Chunk = Uint8Array | readonly number[];

/** The part of the plugin's `Command` that is used. */
export interface ShellCommand {
  readonly stdout: { on(event: "data", listener: (chunk: Chunk) => void): unknown };
  on(event: "close", listener: (end: { code: number | null; signal: number | null }) => void): unknown;
  on(event: "error", listener: (message: string) => void): unknown;
  spawn(): Promise<ShellChild>;
}

/** The part of the plugin's `Child` that is used. */
export interface ShellChild {
  write(data: number[]): Promise<void>;
}

/** Takes messages off a stream of chunks that are cut anywhere. */
export class Frames {
  private buffer = new Uint8Array(65536);
  private used = 0;
  private readonly decoder = new TextDecoder("utf-8", { fatal: true });

  /** The messages that this chunk completes; throws when the stream is no stream of frames. */
  push(chunk: Chunk): Message[] {
    this.append(chunk);
    const messages: Message[] = [];
    let at = 0;
    for (;;) {
      const end = this.headerEnd(at);
      if (end < 0) break;
      const length = contentLength(this.decoder.decode(this.buffer.subarray(at, end)));
      const stop = end + 4 + length;
      if (stop > this.used) break;
      messages.push(JSON.parse(this.decoder.decode(this.buffer.subarray(end + 4, stop))) as Message);
      at = stop;
    }
    this.buffer.copyWithin(0, at, this.used);
    this.used -= at;
    return messages;
  }

  private append(chunk: Chunk): void {
    if (this.used + chunk.length > this.buffer.length) {
      const larger = new Uint8Array(2 * (this.used + chunk.length));
      larger.set(this.buffer.subarray(0, this.used));
      this.buffer = larger;
    }
    this.buffer.set(chunk, this.used);
    this.used += chunk.length;
  }

  /** Where the header that begins at `at` ends: before its CR LF CR LF, or -1. */
  private headerEnd(at: number): number {
    for (let i = at; i + 3 < this.used; i += 1) {
      if (this.buffer[i] === 13 && this.buffer[i + 1] === 10 && this.buffer[i + 2] === 13 && this.buffer[i + 3] === 10) {
        return i;
      }
    }
    return -1;
  }
}

function contentLength(header: string): number {
  const found = /^content-length: *(\d+)$/im.exec(header);
  if (found === null) throw new Error(`no frame: ${header.slice(0, 80)}`);
  return Number(found[1]);
}

class Emitter<T> {
  private readonly listeners = new Set<(value: T) => void>();

  readonly event: Event<T> = (listener, self, disposables) => {
    const each = (value: T) => void listener.call(self, value);
    this.listeners.add(each);
    const disposable = { dispose: () => void this.listeners.delete(each) };
    disposables?.push(disposable);
    return disposable;
  };

  fire(value: T): void {
    for (const listener of [...this.listeners]) listener(value);
  }

  clear(): void {
    this.listeners.clear();
  }
}

/** Reads what `push` is given. */
export class ChunkReader implements MessageReader {
  private readonly errors = new Emitter<Error>();
  private readonly closes = new Emitter<void>();
  private readonly partials = new Emitter<PartialMessageInfo>();
  private readonly frames = new Frames();
  private waiting: Message[] = [];
  private callback: DataCallback | undefined;
  readonly onError = this.errors.event;
  readonly onClose = this.closes.event;
  readonly onPartialMessage = this.partials.event;

  /** Takes a chunk of stdout. */
  push(chunk: Chunk): void {
    let messages: Message[];
    try {
      messages = this.frames.push(chunk);
    } catch (error) {
      this.errors.fire(error instanceof Error ? error : new Error(String(error)));
      this.close();
      return;
    }
    if (this.callback === undefined) this.waiting.push(...messages);
    else for (const message of messages) this.callback(message);
  }

  /** The process has ended. */
  close(): void {
    this.closes.fire();
  }

  listen(callback: DataCallback): Disposable {
    this.callback = callback;
    for (const message of this.waiting.splice(0)) callback(message);
    return { dispose: () => void (this.callback = undefined) };
  }

  dispose(): void {
    for (const emitter of [this.errors, this.closes, this.partials]) emitter.clear();
  }
}

/** Writes frames, one after the other. */
export class ChunkWriter implements MessageWriter {
  private readonly errors = new Emitter<[Error, Message | undefined, number | undefined]>();
  private readonly closes = new Emitter<void>();
  private readonly encoder = new TextEncoder();
  private last: Promise<void> = Promise.resolve();
  readonly onError = this.errors.event;
  readonly onClose = this.closes.event;

  constructor(private readonly child: ShellChild) {}

  write(message: Message): Promise<void> {
    const body = this.encoder.encode(JSON.stringify(message));
    const frame = [...this.encoder.encode(`Content-Length: ${body.length}\r\n\r\n`)].concat(Array.from(body));
    const written = this.last.then(() => this.child.write(frame));
    this.last = written.catch((error: unknown) => {
      this.errors.fire([error instanceof Error ? error : new Error(String(error)), message, undefined]);
    });
    return written;
  }

  end(): void {}

  dispose(): void {
    this.errors.clear();
    this.closes.clear();
  }
}

/** Starts the sidecar; `createMessageConnection` is that of `vscode-jsonrpc/browser`. Call `client.start()` next. */
export async function connectTauri(
  command: ShellCommand,
  createMessageConnection: (reader: MessageReader, writer: MessageWriter) => MessageConnection,
): Promise<HephaesClient> {
  const reader = new ChunkReader();
  command.stdout.on("data", (chunk) => reader.push(chunk));
  command.on("close", () => reader.close());
  command.on("error", () => reader.close());
  return new HephaesClient(createMessageConnection(reader, new ChunkWriter(await command.spawn())));
}
