/** Segments that the kernel threw away for their TCP-MD5 signature: all that there is to see of a wrong password. */
import { readFileSync } from "node:fs";

export interface Md5Drops {
  /** Signed with another password. */
  readonly failure: number;
  /** Not signed, where we have a password. */
  readonly notFound: number;
  /** Signed, where we have none. */
  readonly unexpected: number;
}

/** Counters of this network namespace, of all peers together, since it exists. */
export const md5Drops = (): Md5Drops => read(readFileSync("/proc/self/net/netstat", "utf8"));

/** The lines that begin with `TcpExt:`, names and then values (pure). */
export function read(netstat: string): Md5Drops {
  const [names = [], values = []] = netstat
    .split("\n")
    .filter((line) => line.startsWith("TcpExt:"))
    .map((line) => line.split(" "));
  const of = (name: string) => Number(values[names.indexOf(name)] ?? 0);
  return {
    failure: of("TCPMD5Failure"),
    notFound: of("TCPMD5NotFound"),
    unexpected: of("TCPMD5Unexpected"),
  };
}

/** Why nobody answered, in words, as far as the counters say (pure). */
export function noAnswer(before: Md5Drops, after: Md5Drops, hasPassword: boolean): string {
  const failure = after.failure - before.failure;
  const notFound = after.notFound - before.notFound;
  const unexpected = after.unexpected - before.unexpected;
  const said = (n: number, how: string, why: string) =>
    `no answer; meanwhile ${n} segments came ${how} and were dropped: ${why}`;
  if (hasPassword && failure > 0)
    return said(failure, "with a wrong TCP-MD5 signature", "the peer's password is likely another one");
  if (hasPassword && notFound > 0)
    return said(notFound, "without a TCP-MD5 signature", "the peer likely has no password");
  if (!hasPassword && unexpected > 0)
    return said(unexpected, "with a TCP-MD5 signature", "the peer likely has a password, and we have none");
  return hasPassword ? "no answer: unreachable, or its password is another one" : "no answer";
}
