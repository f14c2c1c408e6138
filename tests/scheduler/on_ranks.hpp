#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "memory_worlds.hpp"
#include "scheduler/seams.hpp"
#include "tessera/session.hpp"

// Several ranks in one process, each of which is a thread with a session and devices of its own.

namespace tessera::testing {

/// What a rank came to: f's value, or what it threw.
template <typename T>
struct Outcome {
  T value{};
  std::string error;
};

/// Calls f(rank) on every rank, in a thread with a session over the rank's world. `arrange` has a
/// say in what the session reaches the machine through.
using Arrange = std::function<void(int rank, scheduler::Seams& seams)>;
template <typename F>
auto on_ranks(std::vector<std::unique_ptr<comm::World>> worlds, const SessionOptions& options, F f,
              const Arrange& arrange = {}) {
  using T = decltype(f(0, std::declval<Session&>()));
  std::vector<Outcome<T>> out(worlds.size());
  std::vector<std::thread> threads;
  for (int r = 0; r < static_cast<int>(worlds.size()); ++r) {
    threads.emplace_back([&, r] {
      Outcome<T>& mine = out[static_cast<std::size_t>(r)];
      try {
        scheduler::Seams seams;
        seams.world = worlds[static_cast<std::size_t>(r)].get();
        if (arrange) arrange(r, seams);
        Session session = seams.open(options);
        const SessionScope scope(session);
        mine.value = f(r, session);
      } catch (const std::exception& e) {
        mine.error = e.what();
      }
      worlds[static_cast<std::size_t>(r)].reset();
    });
  }
  for (std::thread& thread : threads) thread.join();
  return out;
}

template <typename F>
auto on_ranks(int ranks, const SessionOptions& options, F f, const Arrange& arrange = {}) {
  static std::atomic<std::uint64_t> seed{0};
  return on_ranks(comm::MemoryWorlds::make(ranks, ++seed), options, f, arrange);
}

}  // namespace tessera::testing
