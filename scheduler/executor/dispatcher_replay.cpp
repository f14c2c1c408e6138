#include "scheduler/executor/dispatcher_replay.hpp"

#include <chrono>
#include <stdexcept>

#include "core/clock.hpp"

namespace tessera::scheduler {

namespace {

// Carries out nothing: what is told next says that it was done.
class Idle final : public Driver {
 public:
  void start_task(const TaskLaunch&) override {}
  void start_move(const MoveLaunch&) override {}
  void release(BufferId, Place, std::size_t) override {}
  void announce(BlockKey, comm::Rank) override {}
  void start_fetch(const FetchLaunch&) override {}
  void start_send(const SendLaunch&) override {}
};

}  // namespace

double DispatcherReplay::seconds(const TaskOrder& order, const DispatcherOptions& options,
                                 const std::vector<ResidentBlock>& residents) const {
  Idle idle;
  const core::Clock& clock = core::machine_clock();
  const auto begin = clock.now();
  Dispatcher dispatcher(order, options, idle);
  for (const ResidentBlock& block : residents) dispatcher.add_resident(block);
  dispatcher.start();
  for (const Call& call : calls_) {
    switch (call.kind) {
      case Call::kAnnounced:
        dispatcher.announced(call.key);
        break;
      case Call::kPulled:
        dispatcher.pulled(call.key, call.rank, call.id);
        break;
      case Call::kTaskDone:
        dispatcher.task_done(call.id);
        break;
      case Call::kMoveDone:
        dispatcher.move_done(call.id);
        break;
    }
  }
  const std::chrono::duration<double> seconds = core::elapsed(begin, clock.now());
  if (!dispatcher.finished())
    throw std::logic_error("[modelled run] a dispatcher that is told the same does the same");
  return seconds.count();
}

}  // namespace tessera::scheduler
