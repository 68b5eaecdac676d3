/** What bgpd answers on its control socket. */
import type { Control } from "@margay/daemon";
import type { Engine } from "./engine.ts";
import { actions, operate } from "./operate.ts";
import { showPeers, showRoutes } from "./views.ts";

/** Registers all but readiness, which depends on where the configuration comes from. */
export function registerControls(control: Control, engine: Engine, pending: () => string | undefined): void {
  control.get("/peers", () => showPeers(engine));
  control.get("/routes", (query) => showRoutes(engine, query));
  control.get("/pending", () => ({ pending: pending() }));
  for (const action of actions)
    control.post(`/${action}`, ({ peer = "", message, direction }) =>
      operate(engine.speaker, action, {
        peer,
        ...(message === undefined ? {} : { message }),
        ...(direction === "in" || direction === "out" ? { direction } : {}),
      }),
    );
}
