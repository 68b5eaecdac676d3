import { mkdirSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Call } from "./frame.ts";

/*
 * DEL while the agent is away. The relay keeps the call, one file each, and answers success: a pod that ended must not
 * hang because of us. The agent does what is kept as soon as it can, and in any case before an ADD of the same container.
 *
 *   <folder of the socket>/cni-spool/<container>.<interface>.<plugin>.<checksum>     0600 in 0700; the bytes of the relay's frame
 *
 * A repeated DEL is the same file; one of another network, whose container may bear the same name, is not. relay/relay.c
 * writes the same.
 */

/** As relay.c: so many files, of so many bytes, are kept; what is more is CNI error 11. */
const MAX_FILES = 4096;
const MAX_BYTES = 64 << 10;
/** The spool that belongs to an agent's socket. */
export const spoolOf = (socket: string): string => join(dirname(socket), "cni-spool");

/** Where the frame is kept now; undefined when it could not be. */
export function keep(directory: string, env: Call["env"], frame: Buffer): string | undefined {
  const { CNI_CONTAINERID: container = "", CNI_IFNAME: ifname = "" } = env;
  if (!/^[^./][^/]{0,99}$/.test(container) || ifname.length > 15 || ifname.includes("/")) return undefined;
  if (frame.length > MAX_BYTES) return undefined;
  const fresh = join(directory, `.${process.pid}`);
  try {
    mkdirSync(dirname(directory), { recursive: true });
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    if (readdirSync(directory).length >= MAX_FILES) return undefined;
    writeFileSync(fresh, frame, { mode: 0o600 });
    const path = join(directory, `${container}.${ifname}.${env.MARGAY_ARGV0}.${checksum(frame)}`);
    renameSync(fresh, path);
    return path;
  } catch {
    return undefined; // the caller then tells why the agent did not take the call
  }
}

/** FNV-1a, 32 bits. */
const checksum = (bytes: Buffer): string =>
  bytes
    .reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193) >>> 0, 0x811c9dc5)
    .toString(16)
    .padStart(8, "0");
