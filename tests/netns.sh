#!/bin/bash
# A real multi-host testbed on one machine: H network namespaces ("hosts") on a
# bridge, each with a rate-shaped NIC, and MPI jobs across them over TCP.
#
#   netns.sh up H RATE [BURST]       e.g.  up 4 200mbit
#   netns.sh mpich   PPN CMD...      PPN ranks per host, CMD as every rank
#   netns.sh openmpi PPN CMD...
#   netns.sh exec HOST CMD...        one command on host 0..H-1
#   netns.sh rate HOST RATE          reshape one host (a straggler NIC)
#   netns.sh cut HOST | mend HOST    pull / replug a host's cable
#   netns.sh down                    remove everything (always do this)
#
# What is real: separate network stacks, TCP between them, finite NIC rate in
# both directions (egress on the host's veth, ingress on the switch port, so
# incast at a receiver is shaped too), own hostname, own IPC namespace, own
# /dev/shm: a library that thinks two hosts share memory fails here.
# What is not: CPUs and memory bandwidth are shared; no added latency (this
# kernel has no netem), loss only by "cut".
# The bridge lives in its own namespace: nothing in the root namespace changes
# and no packet can leave (no route, no NAT, no uplink).  Needs root, iproute2.
set -euo pipefail
P=${TB_PREFIX:-tb}                # namespaces: ${P}sw, ${P}0, ${P}1, ...; ends in a letter, so that t1 leaves t12 alone
NET=${TB_NET:-10.77.0}            # only ever used inside these namespaces
STATE=/tmp/netns_testbed.$P
hosts() { cat "$STATE/h"; }
addr()  { echo "$NET.$(( $1 + 1 ))"; }

shape() { # netns dev rate burst: replace the root qdisc
  ip netns exec "$1" tc qdisc replace dev "$2" root tbf rate "$3" burst "$4" latency 100ms
}
up() {
  local H=$1 RATE=$2 BURST=${3:-128kb} i
  ip netns add "${P}sw"; mkdir -p "$STATE"; echo "$H" > "$STATE/h"; echo "$BURST" > "$STATE/burst"
  ip -n "${P}sw" link add br0 type bridge; ip -n "${P}sw" link set br0 up
  ip -n "${P}sw" link set lo up
  for ((i = 0; i < H; i++)); do
    ip netns add "$P$i"
    ip link add eth0 netns "$P$i" type veth peer name "p$i" netns "${P}sw"
    ip -n "$P$i" addr add "$(addr $i)/24" dev eth0
    ip -n "$P$i" link set lo up; ip -n "$P$i" link set eth0 up
    ip -n "${P}sw" link set "p$i" master br0; ip -n "${P}sw" link set "p$i" up
    if [ "$RATE" != none ]; then
      shape "$P$i" eth0 "$RATE" "$BURST"; shape "${P}sw" "p$i" "$RATE" "$BURST"
    fi
  done
  # the "ssh" both launchers call:  rsh [-opts] HOST CMD...
  cat > "$STATE/rsh" <<A
#!/bin/bash
while [ "\${1#-}" != "\$1" ]; do shift; done
ip=\$1; shift; n=\$(( \${ip##*.} - 1 ))
exec ip netns exec "$P\$n" unshare --uts --ipc --mount sh -c \\
  'hostname "\$0"; mount -t tmpfs -o size=${TB_SHM:-2g} tmpfs /dev/shm; exec sh -c "\$1"' "host\$n" "\$*"
A
  chmod +x "$STATE/rsh"
}
down() {
  local n pids
  for n in $(ip netns list | awk '{print $1}' | grep -xE "$P([0-9]+|sw)" || true); do
    pids=$(ip netns pids "$n" || true); [ -z "$pids" ] || kill -9 $pids 2>/dev/null || true
    ip netns del "$n"
  done
  rm -rf "$STATE"
}
list() { local i s=; for ((i = 0; i < $(hosts); i++)); do s+="${s:+,}$(addr $i)$1"; done; echo "$s"; }

mpich() {
  : "${MPICH_VENV:?set it to a venv with mpich and mpi4py}"
  local PPN=$1; shift; local H; H=$(hosts)
  # TB_NETMOD=ofi (libfabric tcp provider) or ucx
  local env=(-genv MPIR_CVAR_CH4_NETMOD "${TB_NETMOD:-ofi}")
  env+=(-genv FI_PROVIDER tcp -genv FI_TCP_IFACE eth0)           # ofi
  env+=(-genv UCX_TLS tcp,self -genv UCX_NET_DEVICES eth0)       # ucx
  exec "$STATE/rsh" "$(addr 0)" "exec $MPICH_VENV/bin/mpiexec -launcher ssh -launcher-exec $STATE/rsh -iface eth0 \
    -hosts $(list "") -ppn $PPN -n $((H * PPN)) ${env[*]} ${TB_MPIEXEC_ARGS:-} $(printf '%q ' "$@")"
}
openmpi() {
  : "${OMPI_VENV:?set it to a venv with openmpi and mpi4py}"
  local PPN=$1; shift; local H; H=$(hosts)
  exec "$STATE/rsh" "$(addr 0)" "exec $OMPI_VENV/bin/mpirun --allow-run-as-root --oversubscribe \
    --host $(list ":$PPN") -n $((H * PPN)) --map-by ppr:$PPN:node --bind-to none \
    --prtemca plm_ssh_agent $STATE/rsh --prtemca prte_if_include eth0 \
    --mca pml ob1 --mca btl tcp,self,sm --mca btl_tcp_if_include eth0 ${TB_MPIEXEC_ARGS:-} $(printf '%q ' "$@")"
}
case ${1:-} in
  up) shift; up "$@" ;;
  down) down ;;
  mpich|openmpi) c=$1; shift; "$c" "$@" ;;
  exec) n=$2; shift 2; exec "$STATE/rsh" "$(addr "$n")" "$(printf '%q ' "$@")" ;;
  rate) shape "$P$2" eth0 "$3" "$(cat "$STATE/burst")"; shape "${P}sw" "p$2" "$3" "$(cat "$STATE/burst")" ;;
  cut)  ip -n "${P}sw" link set "p$2" down ;;
  mend) ip -n "${P}sw" link set "p$2" up ;;
  *) sed -n '2,25p' "$0"; exit 2 ;;
esac
