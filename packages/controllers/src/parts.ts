import type { DaemonContext, Troubles } from "@margay/daemon";
import type { Store } from "@margay/datastore";
import type { ApiServer, ListWatch, ListWatchOptions } from "@margay/kubernetes";
import type { Writes } from "./grouped.ts";

/** What every controller works with. */
export interface Surroundings {
  readonly server: ApiServer;
  readonly store: Store;
  /** What changes single keys goes through here. */
  readonly writes: Writes;
  readonly log: DaemonContext["log"];
  /** Where what is out of reach is told. */
  readonly troubles: Troubles;
  /** Counts writes to the datastore, by kind. */
  readonly written: (kind: string) => void;
  readonly now: () => Date;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly random: () => number;
  /** Follows a kind; its health is told under the path's last word. */
  readonly follow: <T>(options: Followed<T>) => ListWatch<T>;
}

export type Followed<T> = Pick<
  ListWatchOptions<T>,
  "path" | "query" | "metadataOnly" | "keep" | "onChange"
> & {
  /** The cluster need not have the kind; `onMissing`: it has not. */
  readonly optional?: boolean | undefined;
  readonly onMissing?: () => void;
};

/** A part of `margay controllers`: follows always, writes only between `lead` and `follow`. */
export interface Controller {
  readonly name: string;
  /** Rejects only for a fault of the program. */
  start(): Promise<unknown>;
  /** Why it does not know everything yet. */
  readonly waitsFor: () => string | undefined;
  lead(): void;
  /** Resolves when nothing is being written any more. */
  follow(): Promise<void>;
  stop(): Promise<void>;
  /** Resolves when nothing is left to write. */
  settled(): Promise<void>;
}
