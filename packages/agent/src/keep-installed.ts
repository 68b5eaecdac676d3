import { existsSync } from "node:fs";
import { type Feature, install, installed, installPaths, type OtherIpam } from "@margay/cni";

export interface KeepInstalledOptions {
  /** Directories of the container runtime's configurations and plugins. */
  readonly confDir: string;
  readonly binDir: string;
  readonly socket: string;
  readonly features: readonly Feature[] | undefined;
  readonly ipam: OtherIpam | undefined;
  /** Why no pod could be served now. */
  readonly whyNot: () => string | undefined;
  readonly onInstalled: (paths: readonly string[]) => void;
  readonly onError: (error: unknown) => void;
}

const LOOK_MS = 1000;

/**
 * Installs the plugins and the network configuration as soon as pods can be served, so that no node is called ready
 * before; and again when somebody removes any of it. It stays when the agent stops: without it a runtime could
 * not even end pods, and STATUS says what is wrong. @returns what ends it
 */
export function keepInstalled(options: KeepInstalledOptions): () => void {
  const { confDir, binDir, socket, features, ipam, whyNot, onInstalled, onError } = options;
  let isCurrent = false; // what an older version left is replaced once
  const look = () => {
    const isThere = isCurrent && installPaths({ confDir, binDir }).every((path) => existsSync(path));
    if (isThere || whyNot() !== undefined) return;
    try {
      onInstalled(install({ ...installed(), confDir, binDir, socket, features, ipam }));
      isCurrent = true;
    } catch (error) {
      onError(error);
    }
  };
  const timer = setInterval(look, LOOK_MS).unref();
  return () => clearInterval(timer);
}
