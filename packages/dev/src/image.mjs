// `npm run image`: the OCI image of charts/margay from Debian packages and this tree, with no registry and no daemon.
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { chunksOf } from "./chunks-of.mjs";
import { debianPackages } from "./debian.mjs";
import { ADDON, DIST, files, ROOT, time } from "./outputs.mjs";
import { must } from "./progress.mjs";

const OUTPUT = join(ROOT, "build/image");
const NODE = join(ROOT, `node_modules/node-linux-${process.arch}`, "bin/node");
const SUITE = "bookworm";
/** Only what the daemons execute, and what node is linked with. */
const MARGAY = ["iptables", "nftables", "ipset", "libstdc++6"];
const ETCD = ["etcd-server", "etcd-client"];
/** What Debian ships for people. */
const FOR_PEOPLE = [
  "usr/share/doc",
  "usr/share/man",
  "usr/share/locale",
  "usr/share/info",
  "usr/share/lintian",
];
/** The alternatives that maintainer scripts, which do not run here, would set. */
const ALTERNATIVES = [
  "iptables",
  "iptables-save",
  "iptables-restore",
  "ip6tables",
  "ip6tables-save",
  "ip6tables-restore",
];
const PASSWD = "root:x:0:0:root:/:/usr/sbin/nologin\nmargay:x:65532:65532:margay:/:/usr/sbin/nologin\n";
const START = `#!/usr/local/bin/node
process.argv[1] = "/opt/margay/dist/margay.mjs"; // the relay and the addon lie beside it
await import("/opt/margay/dist/margay.mjs");
`;

/** Builds build/image/margay.tar and margay-etcd.tar (OCI archives) and says how large they are. @returns the exit code */
export async function image(log) {
  await debianPackages(log, { mmdebstrap: "mmdebstrap" });
  mkdirSync(OUTPUT, { recursive: true });
  const margay = await archive(
    "margay",
    [await debian(MARGAY, log), await runtime(log), await program(log)],
    {
      Entrypoint: ["/usr/local/bin/margay"],
    },
  );
  const etcd = await archive("margay-etcd", [await debian(ETCD, log)], { Cmd: ["etcd"] });
  for (const { path, bytes, unpacked } of [margay, etcd])
    process.stdout.write(`${path}: ${mib(bytes)} compressed, ${mib(unpacked)} unpacked\n`);
  return 0;
}

const mib = (bytes) => `${(bytes / 1048576).toFixed(1)} MiB`;

/** A layer of Debian packages, extracted, not configured: nothing of them runs at build time. */
function debian(packages, log) {
  const id = hash(JSON.stringify([packages, SUITE, readFileSync(new URL(import.meta.url), "utf8")])).slice(
    0,
    12,
  );
  return layer(`debian-${id}`, { unless: [] }, async (root) => {
    const include = `--include=${packages.join(",")}`;
    await must("mmdebstrap", ["--variant=extract", include, SUITE, root], { log, what: "mmdebstrap" });
    for (const path of [...FOR_PEOPLE, "var/cache", "var/log", "tmp", "dev"])
      rmSync(join(root, path), { recursive: true, force: true });
    for (const path of ["proc", "sys", "dev", "tmp", "run", "host"]) mkdirSync(join(root, path));
    chmodSync(join(root, "tmp"), 0o1777);
    writeFileSync(join(root, "etc/passwd"), PASSWD);
    writeFileSync(join(root, "etc/group"), "root:x:0:\nmargay:x:65532:\n");
    if (!packages.includes("iptables")) return;
    for (const name of ALTERNATIVES)
      symlinkSync(name.replace("tables", "tables-nft"), join(root, "usr/sbin", name));
  });
}

/** Node.js, without the symbols that only its own debugging needs. */
function runtime(log) {
  return layer("node", { unless: [NODE] }, async (root) => {
    const path = place(root, "usr/local/bin/node", NODE);
    await must("strip", ["--strip-unneeded", path], { log, what: "strip node" });
  });
}

/** The bundle with what lies beside it: the addon, the relay, etcd's protocol. */
function program() {
  const entries = ["margay.mjs", "wiring-worker.mjs"].map((name) => join(DIST, name));
  const beside = ["margay-cni", basename(ADDON)].map((name) => join(DIST, name));
  const all = [...new Set(entries.flatMap(chunksOf)), ...beside, ...files(join(DIST, "proto"))];
  return layer("margay", { unless: all }, async (root) => {
    for (const path of all) place(root, `opt/margay/dist/${path.slice(DIST.length + 1)}`, path);
    place(root, "opt/margay/package.json", join(ROOT, "packages/margay/package.json"));
    mkdirSync(join(root, "usr/local/bin"), { recursive: true });
    writeFileSync(join(root, "usr/local/bin/margay"), START, { mode: 0o755 });
  });
}

function place(root, path, from) {
  const to = join(root, path);
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
  return to;
}

/** A tar.gz of what `fill` puts into an empty folder, made anew when older than `unless` or not there. */
async function layer(name, { unless }, fill) {
  const path = join(OUTPUT, `${name}.tar.gz`);
  if (!existsSync(path) || unless.some((source) => time(source) > time(path))) {
    const root = mkdtempSync(join(tmpdir(), "margay-image-"));
    try {
      chmodSync(root, 0o755);
      await fill(root);
      const tar = `${path}.tar`;
      // the same content makes the same bytes
      const same = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];
      await must("tar", ["-C", root, ...same, "-cf", tar, "."], { what: "tar" });
      writeFileSync(`${path}.new`, gzipSync(readFileSync(tar), { level: 9 }));
      writeFileSync(
        `${path}.json`,
        JSON.stringify({ diff: digest(readFileSync(tar)), size: statSync(tar).size }),
      );
      rmSync(tar);
      renameSync(`${path}.new`, path);
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  }
  const { diff, size } = JSON.parse(readFileSync(`${path}.json`, "utf8"));
  return { path, diff, size };
}

/** An OCI image layout as one tar (image-spec v1.0, image-layout.md): ctr, podman, skopeo and docker read it. */
async function archive(name, layers, config) {
  const folder = mkdtempSync(join(tmpdir(), "margay-oci-"));
  const { version } = JSON.parse(readFileSync(join(ROOT, "packages/margay/package.json"), "utf8"));
  try {
    mkdirSync(join(folder, "blobs/sha256"), { recursive: true });
    const blob = (mediaType, bytes, more = {}) => {
      writeFileSync(join(folder, "blobs/sha256", hash(bytes)), bytes);
      return { mediaType, digest: digest(bytes), size: bytes.length, ...more };
    };
    const json = (mediaType, value, more) => blob(mediaType, Buffer.from(JSON.stringify(value)), more);
    const env = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];
    const rootfs = { type: "layers", diff_ids: layers.map(({ diff }) => diff) };
    const platform = { architecture: process.arch === "x64" ? "amd64" : process.arch, os: "linux" };
    const manifest = {
      schemaVersion: 2,
      mediaType: `${TYPE}.manifest.v1+json`,
      config: json(`${TYPE}.config.v1+json`, { ...platform, config: { Env: env, ...config }, rootfs }),
      layers: layers.map(({ path }) => blob(`${TYPE}.layer.v1.tar+gzip`, readFileSync(path))),
    };
    const annotations = {
      "org.opencontainers.image.ref.name": version,
      "io.containerd.image.name": `${name}:${version}`,
    };
    const manifests = [json(manifest.mediaType, manifest, { platform, annotations })];
    writeFileSync(join(folder, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
    writeFileSync(join(folder, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
    const path = join(OUTPUT, `${name}.tar`);
    await must("tar", ["-C", folder, "--sort=name", "--mtime=@0", "-cf", `${path}.new`, "."], {
      what: "tar",
    });
    renameSync(`${path}.new`, path);
    const unpacked = layers.reduce((sum, { size }) => sum + size, 0);
    return { path, bytes: statSync(path).size, unpacked };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const TYPE = "application/vnd.oci.image";
const hash = (bytes) => createHash("sha256").update(bytes).digest("hex");
const digest = (bytes) => `sha256:${hash(bytes)}`;
