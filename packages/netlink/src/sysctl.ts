import { readFileSync, writeFileSync } from "node:fs";
import { NetlinkError } from "./error.ts";
import { inNamespace } from "./namespace.ts";

/**
 * Where the kernel's settings are: another mount of them where a container's own /proc/sys is read-only. Below net/ it
 * shows whoever opens a file the settings of their own network namespace.
 */
const ROOT = process.env.MARGAY_PROC_SYS || "/proc/sys";

/**
 * sysctl(8)'s name of a file below /proc/sys: dots become slashes and slashes dots, so that interface "eth0.7" is
 * written "net.ipv4.conf.eth0/7.forwarding".
 */
const pathOf = (name: string): string => `${ROOT}/${name.replace(/[./]/g, (c) => (c === "." ? "/" : "."))}`;

/** How an interface is called in a setting's name: sysctl(8) writes its dots as slashes. */
export const sysctlName = (interfaceName: string): string => interfaceName.replaceAll(".", "/");

/** The value without its newline. NetlinkError ENOENT when there is no such setting (or no such interface). */
export const readSysctl = (name: string, namespace?: string): string =>
  run(`read sysctl ${name}`, namespace, () => readFileSync(pathOf(name), "utf8").trimEnd());

/** Writes unless it has that value already, so that a read-only /proc/sys with the right value is no error. */
export function sysctl(name: string, value: string | number, namespace?: string): void {
  const words = `set sysctl ${name}=${value}`;
  run(words, namespace, () => {
    const path = pathOf(name);
    if (readFileSync(path, "utf8").trimEnd() !== `${value}`) writeFileSync(path, `${value}`);
  });
}

function run<T>(words: string, namespace: string | undefined, fn: () => T): T {
  try {
    return namespace === undefined ? fn() : inNamespace(namespace, fn);
  } catch (error) {
    if (error instanceof NetlinkError) throw error;
    throw new NetlinkError((error as NodeJS.ErrnoException).code ?? "EIO", words);
  }
}
