import { getSystemErrorMap } from "node:util";

/** A refused request: `code` is the errno's name, `request` what was asked, in words. */
export class NetlinkError extends Error {
  readonly code: string;
  readonly request: string;
  /** The kernel's own explanation (extended ack), or ours. */
  readonly detail: string | undefined;

  constructor(code: string, request: string, detail?: string) {
    super(`${request}: ${code} ${detail ?? meaning(code)}`.trimEnd());
    this.name = "NetlinkError";
    this.code = code;
    this.request = request;
    this.detail = detail;
  }
}

const names = new Map([...getSystemErrorMap()].map(([number, [name, text]]) => [-number, { name, text }]));

/** libuv does not name these, which the kernel's networking answers. */
const more: Readonly<Record<number, string>> = { 56: "EBADRQC", 62: "ETIME", 77: "EBADFD", 85: "ERESTART" };

/** "ENETUNREACH" for 101; "E4711" for a number nobody named. */
export const errnoName = (errno: number): string => names.get(errno)?.name ?? more[errno] ?? `E${errno}`;

const meaning = (code: string): string => [...names.values()].find(({ name }) => name === code)?.text ?? "";

/** `result` unless it is -errno: then a NetlinkError about `request`. */
export function check(result: number, request: string | (() => string)): number {
  if (result < 0)
    throw new NetlinkError(errnoName(-result), typeof request === "string" ? request : request());
  return result;
}
