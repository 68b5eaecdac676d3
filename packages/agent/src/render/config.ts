import type { FelixSettings } from "@margay/api";

/** The words of rules that FelixConfiguration decides. */
export interface RenderConfig {
  /** Patterns of workload interfaces, such as `cali+`. */
  readonly interfaces: readonly string[];
  /** Mark bits, as hexadecimal text: a rule allowed the packet; a rule passed it to the next tier. */
  readonly accept: string;
  readonly pass: string;
  readonly both: string;
  /** Mark bit of a connection (not of its packets) that is cut. */
  readonly cut: number;
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  /** Match words that hold so often that a Log rule does not flood the log. */
  readonly logLimit: readonly string[];
  readonly toHost: readonly string[];
  /** Bytes of a Log rule's prefix that the backend takes. */
  readonly logPrefixAtMost: number;
  /** Up to this many interfaces are dispatched to in one chain; more by a tree. A backend with maps wants one chain. */
  readonly dispatchAtMost: number;
  /**
   * Each workload has chains of its own; else its rules stand where it is dispatched. nf_tables goes through all chains and rules that
   * lead anywhere at each commit (nft_chain_validate), and a chain costs it as much as several rules.
   */
  readonly ownChains: boolean;
  readonly felix: FelixSettings;
}

const LIST_AT_MOST = 8;
/** xt_LOG has 30 bytes, the last of which is 0. */
const XT_LOG_PREFIX = 29;

const known = new WeakMap<FelixSettings, RenderConfig>();

/** The same object for the same settings, so that what is rendered with it can be kept. */
export function renderConfig(felix: FelixSettings): RenderConfig {
  const config = known.get(felix) ?? read(felix);
  known.set(felix, config);
  return config;
}

function read(felix: FelixSettings): RenderConfig {
  const [accept, pass, cut] = lowestBits(felix.iptablesMarkMask);
  return {
    interfaces: felix.interfacePrefix.split(",").map((prefix) => `${prefix}+`),
    accept: hex(accept),
    pass: hex(pass),
    both: hex(accept + pass),
    cut,
    allow: ["-j", felix.iptablesFilterAllowAction.toUpperCase()],
    deny: ["-j", felix.iptablesFilterDenyAction.toUpperCase()],
    logLimit: limit(felix),
    toHost: ["-j", felix.defaultEndpointToHostAction.toUpperCase()],
    ...{ dispatchAtMost: LIST_AT_MOST, ownChains: false, logPrefixAtMost: XT_LOG_PREFIX },
    felix,
  };
}

const dropping = new WeakMap<RenderConfig, RenderConfig>();

/** For the other tables: only in filter may a refusal be an answer (xt_REJECT). The same object for the same settings. */
export function outsideFilter(config: RenderConfig): RenderConfig {
  if (config.deny.includes("DROP")) return config;
  const own = dropping.get(config) ?? { ...config, deny: ["-j", "DROP"] };
  dropping.set(config, own);
  return own;
}

const SECONDS = { second: 1, minute: 60, hour: 3600, day: 86_400 } as const;
/** XT_LIMIT_SCALE: xt_limit keeps the time of one packet in ten thousandths of a second, and so that of a burst, in 32 bits. */
const LIMIT_SCALE = 10_000;

/** As often as it is asked, or as xt_limit can: at most 10000 a second, and at once no more than come in 429496 seconds. */
function limit({ logActionRateLimit, logActionRateLimitBurst }: FelixSettings): readonly string[] {
  const [number, unit = "second"] = logActionRateLimit.split("/");
  const units = LIMIT_SCALE * SECONDS[unit as keyof typeof SECONDS]; // api takes no other
  const rate = Math.min(Number(number), units);
  const burst = Math.min(logActionRateLimitBurst, Math.floor(0xffffffff / Math.floor(units / rate)));
  return ["-m", "limit", "--limit", `${rate}/${unit}`, "--limit-burst", String(burst)];
}

/** The three lowest bits of the mask; api refuses a mask with fewer than eight. */
function lowestBits(mask: number): readonly [number, number, number] {
  const bits = Array.from({ length: 32 }, (_, i) => 2 ** i).filter((bit) => Math.floor(mask / bit) % 2 === 1);
  const [first = 0x10000, second = 0x20000, third = 0x40000] = bits;
  return [first, second, third];
}

export const hex = (mark: number): string => `0x${mark.toString(16)}`;
