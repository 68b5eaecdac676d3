import { readFileSync } from "node:fs";

/** What Debian's container runtimes allow a container by default, from the package golang-github-containers-common. */
const PROFILE = "/usr/share/containers/seccomp.json";

interface Condition {
  readonly caps?: readonly string[];
  readonly arches?: readonly string[];
}
interface Rule {
  readonly names: readonly string[];
  readonly action: string;
  readonly args?: readonly object[] | null;
  readonly errnoRet?: number;
  readonly includes?: Condition;
  readonly excludes?: Condition;
}
interface Profile {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly syscalls: readonly Rule[];
}

/** seccompProfile RuntimeDefault in the OCI runtime's words, for a container with these capabilities ("CAP_NET_ADMIN"). */
export function runtimeDefault(capabilities: readonly string[]): object {
  const { defaultAction, defaultErrnoRet, syscalls } = JSON.parse(readFileSync(PROFILE, "utf8")) as Profile;
  const arch = process.arch === "arm64" ? "arm64" : "amd64";
  const has = ({ caps = [] }: Condition = {}) => caps.some((name) => capabilities.includes(name));
  const applies = ({ includes, excludes }: Rule) =>
    (!includes?.caps || has(includes)) && (includes?.arches ?? [arch]).includes(arch) && !has(excludes);
  return {
    defaultAction,
    defaultErrnoRet,
    architectures: [arch === "arm64" ? "SCMP_ARCH_AARCH64" : "SCMP_ARCH_X86_64"],
    syscalls: syscalls.filter(applies).map(({ names, action, args, errnoRet }) => ({
      ...{ names, action },
      ...(args && args.length > 0 && { args }),
      ...(errnoRet !== undefined && { errnoRet }),
    })),
  };
}
