import { durationSeconds } from "@margay/api";
import type { NodeState } from "@margay/calc";
import type { Dataplane } from "./dataplane.ts";
import type { Kernel } from "./kernel.ts";
import type { Overlay } from "./overlay/overlay.ts";
import type { Shaper } from "./qos/shaper.ts";
import type { Chore } from "./timers.ts";

/** A pass that takes longer means that the agent is stuck. */
const STUCK_MS = 120_000;
const HEARTBEAT_SECONDS = 10;
/** How often addresses of domains are looked through for those whose time is over. */
const FORGET_SECONDS = 10;
/** A block that is empty for so long, seen twice, is given back. */
const TIDY_SECONDS = 150;

interface Chores {
  readonly config: () => NodeState["config"];
  readonly kernel: Pick<Kernel, "distrust">;
  readonly dataplane: Pick<Dataplane, "check" | "runningFor">;
  readonly overlay: Pick<Overlay, "recheck">;
  readonly shaper: Pick<Shaper, "recheck">;
  readonly tidy: () => void;
  readonly forget: () => void;
  readonly alive: () => void;
}

/** What an agent does again and again: above all it reads back what others may have touched without a word. */
export function chores({ config, kernel, dataplane, overlay, shaper, ...the }: Chores): readonly Chore[] {
  const recheck = (what: "routes" | "rules" | "sets") => {
    kernel.distrust(what);
    dataplane.check();
  };
  const recheckRoutes = () => {
    recheck("routes");
    overlay.recheck();
    shaper.recheck();
  };
  const beat = () => {
    if (dataplane.runningFor() < STUCK_MS) the.alive();
  };
  return [
    { seconds: () => durationSeconds(config().routeRefreshInterval), act: recheckRoutes },
    { seconds: () => durationSeconds(config().iptablesRefreshInterval), act: () => recheck("rules") },
    { seconds: () => durationSeconds(config().ipsetsRefreshInterval), act: () => recheck("sets") },
    { seconds: () => TIDY_SECONDS, act: the.tidy },
    { seconds: () => FORGET_SECONDS, act: the.forget },
    { seconds: () => HEARTBEAT_SECONDS, act: beat },
  ];
}
