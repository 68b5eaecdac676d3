export { command } from "./command.ts";
export type { Filters, Self, WantedPeer } from "./config.ts";
export { Engine, type EngineOptions, type Wanted } from "./engine.ts";
export { bgpProtocol } from "./kernel-routes.ts";
export { originsOf } from "./originate.ts";
export { Speaker, type SpeakerOptions } from "./speaker.ts";
