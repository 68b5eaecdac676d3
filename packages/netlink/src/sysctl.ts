import { closeSync, existsSync, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { NetlinkError } from "./error.ts";
import { inNamespace, isInside } from "./namespace.ts";

/**
 * Where the kernel's settings are: another mount of them where a container's own /proc/sys is read-only. Below net/ it
 * shows whoever opens a file the settings of their own network namespace.
 */
const ROOT = process.env.MARGAY_PROC_SYS || "/proc/sys";

/** net/ipv4 and net/ipv6 of this thread's own network namespace, held open. */
const own = new Map<string, string | undefined>();

/**
 * Where a directory of the own namespace is held. Each namespace's net/ipv4 is another entry of the same name in one directory: with 1,500
 * pods the kernel would go through 1,500 of them for each file that is opened by its whole path.
 */
function held(directory: string): string | undefined {
  if (!own.has(directory)) {
    const isThere = existsSync(`${ROOT}/${directory}`);
    own.set(directory, isThere ? `/proc/self/fd/${openSync(`${ROOT}/${directory}`, "r")}` : undefined);
  }
  return own.get(directory);
}

/**
 * sysctl(8)'s name of a file below /proc/sys: dots become slashes and slashes dots, so that interface "eth0.7" is
 * written "net.ipv4.conf.eth0/7.forwarding".
 */
function pathOf(name: string): string {
  const path = name.replace(/[./]/g, (c) => (c === "." ? "/" : "."));
  const [, directory, rest] = /^(net\/ipv[46])\/(.*)/.exec(path) ?? [];
  const at = directory !== undefined && !isInside() ? held(directory) : undefined;
  return at === undefined ? `${ROOT}/${path}` : `${at}/${rest}`;
}

/** How an interface is called in a setting's name: sysctl(8) writes its dots as slashes. */
export const sysctlName = (interfaceName: string): string => interfaceName.replaceAll(".", "/");

/** The value without its newline. NetlinkError ENOENT when there is no such setting (or no such interface). */
export const readSysctl = (name: string, namespace?: string): string =>
  run(`read sysctl ${name}`, namespace, () => readFileSync(pathOf(name), "utf8").trimEnd());

/** Writes unless it has that value already, so that a read-only /proc/sys with the right value is no error. */
export function sysctl(name: string, value: string | number, namespace?: string): void {
  run(`set sysctl ${name}=${value}`, namespace, () => {
    const path = pathOf(name);
    const { fd, isReadOnly } = openSetting(path);
    try {
      const length = readSync(fd, buffer, 0, buffer.length, 0);
      if (buffer.toString("utf8", 0, length).trimEnd() === `${value}`) return;
      if (isReadOnly) closeSync(openSync(path, "r+")); // says why
      writeSync(fd, `${value}`, 0);
    } finally {
      closeSync(fd);
    }
  });
}

/** Settings of networks are a number, or a few. */
const buffer = Buffer.alloc(4096);

/** One opening for both: each costs more than what is read or written. */
function openSetting(path: string): { readonly fd: number; readonly isReadOnly: boolean } {
  try {
    return { fd: openSync(path, "r+"), isReadOnly: false };
  } catch (error) {
    if (!["EROFS", "EACCES", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    return { fd: openSync(path, "r"), isReadOnly: true };
  }
}

function run<T>(words: string, namespace: string | undefined, fn: () => T): T {
  try {
    return namespace === undefined ? fn() : inNamespace(namespace, fn);
  } catch (error) {
    if (error instanceof NetlinkError) throw error;
    throw new NetlinkError((error as NodeJS.ErrnoException).code ?? "EIO", words);
  }
}
