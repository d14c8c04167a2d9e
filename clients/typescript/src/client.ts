// The client: typed calls and notifications over a vscode-jsonrpc connection, wherever its streams come from.

import type { CancellationToken, Disposable, GenericRequestHandler, MessageConnection } from "vscode-jsonrpc";
import { Methods } from "./protocol.js";
import type {
  CallOptions,
  ClientNotifications,
  ErrorData,
  InitializeParams,
  InitializeResult,
  Job,
  Requests,
  ServerNotifications,
  ServerRequests,
} from "./protocol.js";

export * from "./protocol.js";

/** An error the sidecar answered with; `data.kind` says which. */
export interface RpcError<Data extends ErrorData = ErrorData> extends Error {
  code: number;
  data: Data;
}

/** Whether something that was thrown is an error of the sidecar (of that kind). */
export function isRpcError<Kind extends ErrorData["kind"]>(
  error: unknown,
  kind?: Kind,
): error is RpcError<Extract<ErrorData, { kind: Kind }>> {
  const data = error instanceof Error && "code" in error && "data" in error ? error.data : undefined;
  const found = typeof data === "object" && data !== null && "kind" in data ? data.kind : undefined;
  return typeof found === "string" && (kind === undefined || found === kind);
}

/** What is told under a `workDoneToken`. */
export type WorkDone = ServerNotifications["$/progress"]["value"];

type RequestPart<M extends keyof ServerRequests, Part extends string> = ServerRequests[M] extends Record<Part, infer T>
  ? T
  : never;

const FINAL: ReadonlySet<Job["status"]> = new Set<Job["status"]>(["succeeded", "failed", "cancelled"]);

let tokens = 0;

/** A client of one sidecar. It has the connection listen, which nobody else may have done before. */
export class HephaesClient extends Methods {
  constructor(readonly connection: MessageConnection) {
    super();
    connection.listen();
  }

  /** The handshake: `initialize` with these params, then `initialized`. */
  async start(params: InitializeParams = {}): Promise<InitializeResult> {
    const result = await this.initialize(params);
    await this.notify("initialized", undefined);
    return result;
  }

  /** `shutdown` and `exit`; the process ends with code 0. */
  async stop(): Promise<void> {
    await this.shutdown();
    await this.notify("exit", undefined);
  }

  call<M extends keyof Requests>(
    method: M,
    params: Requests[M]["params"],
    options: CallOptions = {},
  ): Promise<Requests[M]["result"]> {
    return this.connection.sendRequest<Requests[M]["result"]>(method, params ?? {}, options.token);
  }

  /** Calls `run` with params that ask for progress, and `told` with what is told until the answer comes. */
  async withProgress<Result>(
    told: (value: WorkDone) => void,
    run: (params: { workDoneToken: string }) => Promise<Result>,
  ): Promise<Result> {
    const workDoneToken = `client-${(tokens += 1)}`;
    const listening = this.on("$/progress", ({ token, value }) => {
      if (token === workDoneToken) told(value);
    });
    try {
      return await run({ workDoneToken });
    } finally {
      listening.dispose();
    }
  }

  /** Sends a notification. */
  notify<M extends keyof ClientNotifications>(method: M, params: ClientNotifications[M]): Promise<void> {
    return this.connection.sendNotification(method, params ?? {});
  }

  private readonly listeners = new Map<string, Set<(params: unknown) => void>>();

  /** Has `listener` called with every notification of that name, until it is disposed of. */
  on<M extends keyof ServerNotifications>(
    method: M,
    listener: (params: ServerNotifications[M]) => void,
  ): Disposable {
    let known = this.listeners.get(method);
    if (known === undefined) {
      const listeners = new Set<(params: unknown) => void>();
      this.listeners.set(method, (known = listeners));
      this.connection.onNotification(method, (params: unknown) => {
        for (const each of [...listeners]) each(params);
      });
    }
    const added = (params: unknown) => listener(params as ServerNotifications[M]);
    known.add(added);
    return { dispose: () => void known.delete(added) };
  }

  /** Answers the sidecar's requests of that name. */
  onRequest<M extends keyof ServerRequests>(
    method: M,
    answer: (params: RequestPart<M, "params">, token: CancellationToken) => Promise<RequestPart<M, "result">>,
  ): Disposable {
    return this.connection.onRequest(method as string, answer as GenericRequestHandler<unknown, void>);
  }

  /** The job, once it has ended, however. */
  waitForJob(jobId: string): Promise<Job> {
    return new Promise((resolve, reject) => {
      const settle = (job: Job) => {
        if (job.id !== jobId || !FINAL.has(job.status)) return;
        listening.dispose();
        closing.dispose();
        resolve(job);
      };
      const fail = (error: unknown) => {
        listening.dispose();
        closing.dispose();
        reject(error);
      };
      const listening = this.on("jobs/didChange", ({ job }) => settle(job));
      const closing = this.connection.onClose(() => fail(new Error("the sidecar has gone")));
      this.jobs.get({ job_id: jobId }).then(settle, fail);
    });
  }
}
