import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { NetlinkError } from "./error.ts";

/** The addon's functions: each answers the system call's result, or -errno. See native/margay-netlink.c. */
interface Native {
  /** Close-on-exec and non-blocking. */
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, sockaddr: Uint8Array): number;
  connect(fd: number, sockaddr: Uint8Array): number;
  setsockopt(fd: number, level: number, name: number, value: Uint8Array): number;
  getsockopt(fd: number, level: number, name: number, into: Uint8Array): number;
  /** A classic BPF program, one struct sock_filter after the other, in bytes. */
  attachFilter(fd: number, program: Uint8Array): number;
  send(fd: number, bytes: Uint8Array): number;
  /** The same on another thread; the bytes may be used again at once. */
  sendLater(fd: number, bytes: Uint8Array): Promise<number>;
  /** The datagram's whole length, also when `into` was too short for it. */
  recv(fd: number, into: Uint8Array): number;
  close(fd: number): number;
  setns(fd: number, kind: number): number;
  unshare(kinds: number): number;
  bindMount(source: string, target: string): number;
  unmount(target: string): number;
  /** Lets go of resident pages of files that are only read; answers how many kB. */
  releaseFilePages(): number;
  /** Calls back while `fd` is readable; a negative number is the error. */
  poll(fd: number, callback: (status: number) => void): object | number;
  /** Exactly once for each token of `poll`. */
  unpoll(token: object): number;
}

let loaded: Native | undefined;

/**
 * The addon, loaded at first use: from MARGAY_NATIVE_DIR, from beside the bundle, or from this package's
 * native/build. Throws NetlinkError ENOENT, saying how to build it, when it lies in none of them.
 */
export function native(): Native {
  loaded ??= load();
  return loaded;
}

function load(): Native {
  const file = `margay-netlink-${process.arch}.node`;
  const here = fileURLToPath(new URL(".", import.meta.url));
  const places = [process.env.MARGAY_NATIVE_DIR, here, join(here, ".."), join(here, "../native/build")];
  const found = places.map((place) => place && join(place, file)).find((path) => path && existsSync(path));
  if (!found)
    throw new NetlinkError("ENOENT", `load ${file}`, "not built: run packages/netlink/native/build.mjs");
  const module = { exports: {} };
  process.dlopen(module, found);
  return module.exports as Native; // the C file and the interface above are kept side by side by hand
}
