/** Passwords that resources refer to, from the files of a directory: `<directory>/<Secret>/<key>`, as Kubernetes mounts Secrets. */
import { type FSWatcher, readFileSync, watch } from "node:fs";
import { join } from "node:path";

/** The value of one key of a Secret; undefined when it is not there. */
export type ReadSecret = (name: string, key: string) => string | undefined;

/** A mounted Secret is changed in several steps: what settles within this is one change. */
const settleMs = 100;

export class SecretFiles {
  readonly #directory: string;
  readonly #onChange: () => void;
  /** Of the directory, and of each Secret that was ever asked for. */
  readonly #watchers = new Map<string, FSWatcher>();
  #settling: NodeJS.Timeout | undefined;

  /** `onChange`: ask again. The directory need not be there. */
  constructor(directory: string, onChange: () => void) {
    this.#directory = directory;
    this.#onChange = onChange;
  }

  /** A line's end behind the password is not part of it. */
  readonly read: ReadSecret = (name, key) => {
    this.#watch(this.#directory);
    this.#watch(join(this.#directory, name));
    try {
      return readFileSync(join(this.#directory, name, key), "utf8").replace(/\r?\n$/, "") || undefined;
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  };

  close(): void {
    clearTimeout(this.#settling);
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #watch(path: string): void {
    if (this.#watchers.has(path)) return;
    try {
      const watcher = watch(path, () => this.#changed());
      watcher.on("error", () => this.#lost(path));
      this.#watchers.set(path, watcher);
    } catch (error) {
      if (!isAbsent(error)) throw error; // its parent's watcher says when it comes
    }
  }

  /** It was taken away: the next `read` watches what has come in its place. */
  #lost(path: string): void {
    this.#watchers.get(path)?.close();
    this.#watchers.delete(path);
    this.#changed();
  }

  #changed(): void {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => {
      for (const [path, watcher] of this.#watchers) {
        watcher.close();
        this.#watchers.delete(path);
      }
      this.#onChange();
    }, settleMs);
  }
}

const isAbsent = (error: unknown): boolean =>
  ["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
