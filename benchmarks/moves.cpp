// What carries blocks from one rank to another: seconds for a word there and back, and bytes a
// second of bodies of some sizes, several on their way at once. Two ranks run it; the first prints
// one JSON object.
//
// usage: tessera run -n 2 -- bench_moves [--quick]

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "benchmarks/machine.hpp"
#include "comm/world.hpp"

namespace comm = tessera::comm;

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kAtOnce = 8;  // bodies on their way
constexpr std::size_t kLargest = std::size_t{64} << 20;
enum Kind : std::uint32_t { kPing, kPong, kBody, kDone };

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Answers pings and counts what comes. Bodies of one sender go to as many places as are on their
/// way.
class End final : public comm::Receiver {
 public:
  End() : places_(kAtOnce, std::vector<std::byte>(kLargest, std::byte{1})) {}
  comm::Messenger* messenger = nullptr;

  std::byte* target(comm::Rank, const comm::Envelope& envelope, std::size_t) noexcept override {
    return places_[envelope.a % kAtOnce].data();
  }
  void arrived(comm::Rank from, const comm::Envelope& envelope, std::size_t) noexcept override {
    if (envelope.kind == kPing) return messenger->send(from, {kPong, 0, 0, 0, 0}, nullptr, 0, {});
    const std::lock_guard lock(mutex_);
    ++(envelope.kind == kPong ? pongs_ : envelope.kind == kBody ? bodies_ : dones_);
    changed_.notify_all();
  }
  void lost(comm::Rank, const std::string&) noexcept override {
    const std::lock_guard lock(mutex_);
    ++dones_;
    changed_.notify_all();
  }
  void sent() {
    const std::lock_guard lock(mutex_);
    ++sent_;
    changed_.notify_all();
  }
  void wait_pongs(std::size_t count) { wait(pongs_, count); }
  void wait_bodies(std::size_t count) { wait(bodies_, count); }
  void wait_dones(std::size_t count) { wait(dones_, count); }
  void wait_sent(std::size_t count) { wait(sent_, count); }

 private:
  void wait(const std::size_t& what, std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return what >= count; });
  }
  std::vector<std::vector<std::byte>> places_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t pongs_ = 0, bodies_ = 0, dones_ = 0, sent_ = 0;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  comm::World& world = comm::process_world([] { return comm::RankCard{"bench_moves", {}}; });
  if (argc > 2 || (argc > 1 && !quick) || world.ranks() != 2) {
    std::fprintf(stderr, "usage: tessera run -n 2 -- bench_moves [--quick]\n");
    return 2;
  }
  const auto kept = std::make_shared<End>();
  world.receiver = kept;  // it outlives the messenger
  End& end = *kept;
  comm::Messenger& messenger = *world.messenger();
  end.messenger = &messenger;
  messenger.start(end);
  const comm::Rank other{1 - world.rank().number};
  const bool first = world.rank().number == 0;
  std::size_t words = 0, bodies = 0, rounds = 0;
  std::vector<double> times;
  for (int i = quick ? 50 : -500; i < (quick ? 100 : 5000) && first; ++i) {
    const Clock::time_point begin = Clock::now();
    messenger.send(other, {kPing, 0, 0, 0, 0}, nullptr, 0, {});
    end.wait_pongs(++words);
    if (i >= 0) times.push_back(seconds_since(begin));
  }
  std::string rows;
  for (const std::size_t bytes :
       {std::size_t{64} << 10, std::size_t{1} << 20, std::size_t{16} << 20, kLargest}) {
    const std::size_t count =
        std::max<std::size_t>((quick ? kLargest : 16 * kLargest) / bytes, kAtOnce);
    const std::vector<std::byte> body(first ? bytes : 0, std::byte{2});
    std::vector<double> rates;
    for (int i = -1; i < (quick ? 1 : 5); ++i) {
      ++rounds;
      if (first) {
        const Clock::time_point begin = Clock::now();
        for (std::size_t b = 0; b < count; ++b) {
          if (b >= kAtOnce) end.wait_sent(bodies + 1 - kAtOnce);
          ++bodies;
          messenger.send(other, {kBody, 0, 0, b, 0}, body.data(), bytes,
                         [&end](const std::exception_ptr&) { end.sent(); });
        }
        end.wait_dones(rounds);  // all have come
        if (i >= 0) rates.push_back(static_cast<double>(count * bytes) / seconds_since(begin));
        end.wait_sent(bodies);
      } else {
        end.wait_bodies(bodies += count);
        messenger.send(other, {kDone, 0, 0, 0, 0}, nullptr, 0, {});
      }
    }
    if (!first) continue;
    char row[160];
    std::snprintf(row, sizeof row, "%s{\"bytes\": %zu, \"gb_per_s\": %.3f}",
                  rows.empty() ? "" : ", ", bytes, 1e-9 * median(rates));
    rows += row;
  }
  if (!first) return end.wait_dones(1), 0;  // until the other has left
  std::printf(
      "{\"benchmark\": \"moves\", %s, \"at_once\": %zu, \"there_and_back_us\": %.2f, \"bodies\": "
      "[%s]}\n",
      tessera::benchmarks::machine_facts().c_str(), kAtOnce, 1e6 * median(times), rows.c_str());
  return 0;
}
