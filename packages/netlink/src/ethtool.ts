import { attributes, eachAttribute, type Message, type Request, text, window } from "./message.ts";
import { RequestSocket } from "./socket.ts";

/** What ethtool(8) shows as features, over generic netlink (linux/ethtool_netlink.h, Linux 5.6). */
const NETLINK_GENERIC = 16;
/** GENL_ID_CTRL: which number "ethtool" has here. */
const controller = { type: 16, getFamily: 3, id: 1, name: 2 } as const;
const command = { getFeatures: 11, setFeatures: 12 } as const;
const NESTED = 0x8000;
const feature = { header: 1, wanted: 3, active: 4 } as const;
const header = { name: 2, flags: 3 } as const;
const OMIT_REPLY = 2;
const bitset = { bits: 3, bit: 1, name: 2, value: 3 } as const;

/** The sender's checksums are left to the device: `tx-checksumming` of `ethtool -k`. */
const CHECKSUM = "tx-checksum-ip-generic";

/** Whether checksums of what is sent through the device are left to what is below it. NetlinkError ENODEV without the device. */
export const checksumOffload = (device: string, namespace?: string): Promise<boolean> =>
  withEthtool(namespace, async (socket, family) => {
    const names = new Set<string>();
    await ask(socket, getFeatures(family, device), ({ body }) => {
      for (const name of activeIn(body)) names.add(name);
    });
    return names.has(CHECKSUM);
  });

/** Leaves checksums to what is below the device, or makes the kernel fill them in before. Throws NetlinkError. */
export const setChecksumOffload = (
  device: string,
  { on, namespace }: { on: boolean; namespace?: string },
): Promise<void> =>
  withEthtool(namespace, (socket, family) =>
    ask(socket, setFeature(family, device, { on }), () => undefined),
  );

async function withEthtool<T>(
  namespace: string | undefined,
  action: (socket: RequestSocket, family: number) => Promise<T>,
): Promise<T> {
  const socket = new RequestSocket(NETLINK_GENERIC, namespace);
  try {
    let family = 0;
    await ask(socket, findFamily, ({ body }) => {
      family = attributes(body, 4).get(controller.id)?.getUint16(0, true) ?? family;
    });
    return await action(socket, family);
  } finally {
    socket.close();
  }
}

async function ask(socket: RequestSocket, request: Request, read: (message: Message) => void): Promise<void> {
  const [failure] = await socket.transact([request], read);
  if (failure) throw failure.error;
}

const findFamily: Request = {
  ...{ type: controller.type, flags: 0, words: () => "find ethtool" },
  body: (e) => e.u8(controller.getFamily).u8(1).u16(0).attributeText(controller.name, "ethtool"),
};

const getFeatures = (type: number, device: string): Request => ({
  ...{ type, flags: 0, words: () => `read features of ${device}` },
  body: (e) =>
    e
      .u8(command.getFeatures)
      .u8(1)
      .u16(0)
      .attribute(feature.header | NESTED, (h) => h.attributeText(header.name, device)),
});

const setFeature = (type: number, device: string, { on }: { on: boolean }): Request => ({
  ...{ type, flags: 0, words: () => `turn ${CHECKSUM} of ${device} ${on ? "on" : "off"}` },
  body: (e) =>
    e
      .u8(command.setFeatures)
      .u8(1)
      .u16(0)
      .attribute(feature.header | NESTED, (h) =>
        h.attributeText(header.name, device).attributeU32(header.flags, OMIT_REPLY),
      )
      .attribute(feature.wanted | NESTED, (wanted) =>
        wanted.attribute(bitset.bits | NESTED, (bits) =>
          bits.attribute(bitset.bit | NESTED, (bit) => {
            bit.attributeText(bitset.name, CHECKSUM);
            if (on) bit.attributeBytes(bitset.value, new Uint8Array());
          }),
        ),
      ),
});

/** Names of the bits that are set: the list holds no others. */
function activeIn(body: DataView): string[] {
  const active = attributes(body, 4).get(feature.active);
  const bits = active && attributes(active, 0).get(bitset.bits);
  const names: string[] = [];
  if (bits)
    eachAttribute(bits, 0, (_type, at, length) => {
      const name = attributes(window(bits, at, length), 0).get(bitset.name);
      if (name) names.push(text(name));
    });
  return names;
}
