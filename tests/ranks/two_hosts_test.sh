#!/usr/bin/env bash
# two_hosts_test.sh RANKS_PROGRAM: four ranks on two hosts, which are two network namespaces of this machine
# with a link between them: results have one rank's bits; when the link goes silent, all ranks end and say so, or
# those of the host with most of them go on where they are to.
# Exits 77 where it may not make network namespaces.
set -euo pipefail
program=$1
# Names of this run alone: other runs on the machine have theirs.
id=$$
a="tessera-a-$id" b="tessera-b-$id"
out=$(mktemp -d)

skip() {
  echo "skipped: $*"
  exit 77
}
command -v ip >/dev/null || skip "no ip command here (package iproute2)"
[ "$(id -u)" -eq 0 ] || skip "network namespaces need root"
ip netns add "$a" 2>/dev/null || skip "no network namespaces may be made here"
clean_up() {
  jobs -p | xargs -r kill -9 2>/dev/null || true
  wait 2>/dev/null || true
  ip netns del "$a" 2>/dev/null || true
  ip netns del "$b" 2>/dev/null || true
  rm -rf "$out"
}
trap clean_up EXIT
ip netns add "$b"
ip link add "ta$id" type veth peer name "tb$id" 2>/dev/null || skip "no veth link may be made here"
ip link set "ta$id" netns "$a"
ip link set "tb$id" netns "$b"
for host in "$a:ta$id:10.98.0.1" "$b:tb$id:10.98.0.2"; do
  IFS=: read -r name link address <<<"$host"
  ip -n "$name" addr add "$address/24" dev "$link"
  ip -n "$name" link set "$link" up
  ip -n "$name" link set lo up
done

export TESSERA_WORLD_SIZE=4 TESSERA_RENDEZVOUS=10.98.0.1:29411 TESSERA_WORKERS=1 TESSERA_RANK_TIMEOUT=3
# Processes of two hosts cannot read each other's memory; these could.
export TESSERA_TRANSPORT=tcp
export TESSERA_JOB_TOKEN=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff

# start ARGUMENTS...: the first ranks, `here` of them, on one host, the others on the other; their processes go to
# `ranks`.
here=2
start() {
  ranks=()
  local rank
  for rank in 0 1 2 3; do
    if [ "$rank" -lt "$here" ]; then host=$a; else host=$b; fi
    TESSERA_RANK=$rank ip netns exec "$host" "$program" "$@" >"$out/$rank" 2>&1 &
    ranks+=($!)
  done
}

env -u TESSERA_WORLD_SIZE -u TESSERA_RENDEZVOUS "$program" bits >"$out/alone"
[ -s "$out/alone" ]
transports=tcp
[ ! -e "$(dirname "$program")/../lib/libtessera_ucx.so" ] || transports+=" ucx"
for TESSERA_TRANSPORT in $transports; do
  start bits
  for rank in 0 1 2 3; do
    wait "${ranks[$rank]}" || { cat "$out/$rank"; exit 1; }
    cmp "$out/alone" "$out/$rank"
  done
  echo "four ranks on two hosts, over $TESSERA_TRANSPORT: the bits of one"
done

# Without a token no job goes beyond a machine.
if env -u TESSERA_JOB_TOKEN TESSERA_RANK=0 ip netns exec "$a" "$program" bits >"$out/open" 2>&1; then
  echo "a job without a token was let beyond one machine"
  exit 1
fi
grep -q TESSERA_JOB_TOKEN "$out/open"

wait_for_all() {
  local rank
  for rank in 0 1 2 3; do
    for _ in $(seq 500); do
      grep -q "is process" "$out/$rank" && break
      sleep 0.02
    done
    grep -q "is process" "$out/$rank" || { cat "$out/$rank"; exit 1; }
  done
}

start forever 1
wait_for_all
ip -n "$b" link set "tb$id" down
begin=$SECONDS
for rank in 0 1 2 3; do
  status=0
  wait "${ranks[$rank]}" || status=$?
  [ "$status" -eq 3 ] || { echo "rank $rank ended with $status"; cat "$out/$rank"; exit 1; }
done
[ $((SECONDS - begin)) -le 12 ] || { echo "took $((SECONDS - begin)) s"; exit 1; }
grep -h "rank [0-9] on " "$out"/[0-3] >/dev/null
grep -hq "nothing was heard of it for" "$out"/[0-3]
echo "a silent link: all ranks ended within $((SECONDS - begin)) s"
ip -n "$b" link set "tb$id" up

# Three are more than half of four.
env -u TESSERA_WORLD_SIZE -u TESSERA_RENDEZVOUS "$program" survive kept 2>/dev/null >"$out/alone"
here=3
TESSERA_TRANSPORT=tcp TESSERA_ON_RANK_LOSS=recover start survive kept
wait_for_all
sleep 0.2
ip -n "$b" link set "tb$id" down
for rank in 0 1 2; do
  wait "${ranks[$rank]}" || { cat "$out/$rank"; exit 1; }
  grep -v "^rank\|^tessera" "$out/$rank" | cmp "$out/alone" -
done
status=0
wait "${ranks[3]}" || status=$?
[ "$status" -eq 3 ] || { echo "rank 3 ended with $status"; cat "$out/3"; exit 1; }
grep -q "more than half of the ranks must be left to go on; got 1 of 4" "$out/3"
echo "a silent link: the host with three ranks went on, the other's stopped"
