#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/executor/dispatcher.hpp"

// What a dispatcher was told during a run, to tell another one the same. A dispatcher decides by
// what it is told alone, so that the second does what the first did, without anything around it: a
// way to measure what one rank of a modelled cluster takes for its share.

namespace tessera::scheduler {

class DispatcherReplay {
 public:
  void announced(BlockKey key) { calls_.push_back({Call::kAnnounced, 0, {}, key}); }
  void pulled(BlockKey key, comm::Rank reader, std::uint32_t request) {
    calls_.push_back({Call::kPulled, request, reader, key});
  }
  void task_done(TaskId id) { calls_.push_back({Call::kTaskDone, id, {}, {}}); }
  void move_done(std::uint32_t id) { calls_.push_back({Call::kMoveDone, id, {}, {}}); }

  /// Makes a dispatcher, tells it everything, and returns the seconds that all of it took.
  double seconds(const TaskOrder& order, const DispatcherOptions& options,
                 const std::vector<ResidentBlock>& residents) const;

 private:
  struct Call {
    enum Kind : std::uint8_t { kAnnounced, kPulled, kTaskDone, kMoveDone } kind;
    std::uint32_t id;
    comm::Rank rank;
    BlockKey key;
  };
  std::vector<Call> calls_;
};

}  // namespace tessera::scheduler
