#!/bin/sh
# Records the sessions in sessions/: BIRD, FRR, GoBGP and ExaBGP each speak to record.ts in namespaces of their own.
#   packages/bgp/testdata/record.sh            needs bird2, frr, gobgpd and exabgp 5; no root
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../..
export PATH="$root/node_modules/.bin:/usr/lib/frr:$PATH:/usr/sbin"
if [ -z "${RECORDING:-}" ]; then
  exec env RECORDING=1 unshare -Urnm sh -c 'mount -t tmpfs tmpfs /run && ip link set lo up &&
    ip addr add 192.0.2.1/32 dev lo && ip addr add 192.0.2.2/32 dev lo && exec "$0"' "$here/record.sh"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# record NAME VERSION COMMAND...: the daemon runs until the recorder has seen both End-of-RIBs, then gets SIGTERM
record() {
  name=$1; version=$2; shift 2
  node --conditions=margay-source "$here/record.ts" "$version" > "$work/$name" &
  recorder=$!
  until [ -s "$work/$name" ]; do sleep 0.1; done # it listens
  "$@" > "$work/$name.log" 2>&1 &
  daemon=$!
  [ "$name" = gobgp ] && routes
  sleep 8
  kill "$daemon"
  wait "$daemon" || true
  wait "$recorder"
  mv "$work/$name" "$here/sessions/$name.hex"
}

cat > "$work/bird.conf" <<CONF
router id 192.0.2.2;
protocol device {}
protocol static { ipv4; route 10.1.0.0/16 blackhole; route 10.1.1.0/24 blackhole { bgp_community.add((65001,100)); bgp_large_community.add((65001,1,2)); }; }
protocol static { ipv6; route 2001:db8:1::/48 blackhole; }
protocol bgp feed {
  local 192.0.2.2 as 65001;
  neighbor 192.0.2.1 as 65000;
  multihop; strict bind; hold time 90; graceful restart on; long lived graceful restart on;
  ipv4 { import none; export all; next hop self; };
  ipv6 { import none; export all; next hop address 2001:db8::2; };
}
CONF
record bird "$(bird --version 2>&1)" bird -f -c "$work/bird.conf" -s "$work/bird.ctl"

cat > "$work/frr.conf" <<CONF
router bgp 65002
 bgp router-id 192.0.2.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 neighbor 192.0.2.1 remote-as 65000
 neighbor 192.0.2.1 ebgp-multihop
 neighbor 192.0.2.1 update-source 192.0.2.2
 neighbor 192.0.2.1 timers connect 1
 address-family ipv4 unicast
  network 10.2.0.0/16
  network 10.2.1.0/24 route-map tagged
  neighbor 192.0.2.1 activate
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:2::/48
  neighbor 192.0.2.1 activate
 exit-address-family
route-map tagged permit 10
 set community 65002:100
 set large-community 65002:1:2
 set metric 50
CONF
record frr "$(bgpd --version | head -1)" bgpd -n -S -f "$work/frr.conf" -i "$work/frr.pid" --vty_socket "$work" -P 0 -p 0 -l 192.0.2.2

cat > "$work/gobgp.toml" <<CONF
[global.config]
  as = 65003
  router-id = "192.0.2.2"
  port = -1
[[neighbors]]
  [neighbors.config]
    neighbor-address = "192.0.2.1"
    peer-as = 65000
  [neighbors.timers.config]
    connect-retry = 1
    hold-time = 90
  [neighbors.transport.config]
    local-address = "192.0.2.2"
  [neighbors.ebgp-multihop.config]
    enabled = true
    multihop-ttl = 8
  [neighbors.graceful-restart.config]
    enabled = true
    restart-time = 120
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv6-unicast"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true
CONF
routes() {
  sleep 1
  gobgp global rib add 10.3.0.0/16 nexthop 192.0.2.2
  gobgp global rib add 10.3.1.0/24 nexthop 192.0.2.2 community 65003:100 large-community 65003:1:2 med 50
  gobgp global rib add -a ipv6 2001:db8:3::/48 nexthop 2001:db8::2
}
record gobgp "$(gobgpd --version)" gobgpd -f "$work/gobgp.toml"

# So many families that its capabilities need extended optional parameters (RFC 9072).
cat > "$work/exabgp.conf" <<CONF
neighbor 192.0.2.1 {
  router-id 192.0.2.2; local-address 192.0.2.2; local-as 65004; peer-as 65000; hold-time 90;
  capability { route-refresh enable; graceful-restart 120; add-path disable; extended-message enable; software-version enable; }
  family {
    ipv4 unicast; ipv4 multicast; ipv4 nlri-mpls; ipv4 mpls-vpn; ipv4 flow; ipv4 flow-vpn; ipv4 mcast-vpn; ipv4 mup;
    ipv6 unicast; ipv6 nlri-mpls; ipv6 mpls-vpn; ipv6 flow; ipv6 flow-vpn; ipv6 mcast-vpn; ipv6 mup;
    l2vpn vpls; l2vpn evpn; bgp-ls bgp-ls;
  }
  announce {
    ipv4 {
      unicast 10.4.0.0/16 next-hop 192.0.2.2;
      unicast 10.4.1.0/24 next-hop 192.0.2.2 community 65004:100 large-community 65004:1:2 med 50;
    }
    ipv6 { unicast 2001:db8:4::/48 next-hop 2001:db8::2; }
  }
}
CONF
record exabgp "$(exabgp version | head -1)" env exabgp_daemon_user=root exabgp_tcp_bind= exabgp server "$work/exabgp.conf"
