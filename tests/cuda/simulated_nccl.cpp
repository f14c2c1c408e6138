#include "tests/cuda/simulated_nccl.hpp"

#include <cstring>
#include <map>
#include <random>
#include <set>
#include <stdexcept>
#include <vector>

#include "tests/cuda/simulated_machine.hpp"

namespace tessera::testing {
namespace {

constexpr int kInvalidArgument = 4;  // ncclInvalidArgument
constexpr int kRemoteError = 6;      // ncclRemoteError
using Machine = SimulatedCuda::Machine;

struct Room;

/// One end of a link.
struct End {
  Room* room = nullptr;
  int number = 0;
  bool aborted = false;
  int error = 0;
  std::uint64_t busy = 0;  ///< so often state() will say that calls go on
  std::size_t queued = 0;  ///< messages
};

/// What two ends share.
struct Room {
  struct Message {
    bool reached[2] = {false, false};
    void* data[2] = {nullptr, nullptr};
    std::size_t bytes[2] = {0, 0};
    bool through = false;
  };
  End ends[2];
  bool joined[2] = {false, false};
  std::vector<Message> messages;
};

SimulatedNccl::State* the_state = nullptr;

}  // namespace

struct SimulatedNccl::State {
  std::mt19937_64 random;
  TesseraNcclApi api{};
  std::uint64_t ids = 0;
  std::map<std::uint64_t, std::unique_ptr<Room>> rooms;
  std::int64_t sent = 0;
  std::int64_t fail_at = 0;
  std::int64_t through = 0;
  bool refuses = false;
};

namespace {

template <typename F>
int guarded(F&& f) {
  const std::lock_guard lock(Machine::here().mutex);
  if (the_state == nullptr) throw std::logic_error("no simulated NCCL is there");
  return f(*the_state);
}

// On a stream: done when both ends have got here.
int meet(End& end, std::size_t n, void* data, std::size_t bytes) {
  if (end.aborted) return 0;
  Room::Message& message = end.room->messages[n];
  if (message.through) return 0;
  const auto self = static_cast<std::size_t>(end.number);
  message.reached[self] = true;
  message.data[self] = data;
  message.bytes[self] = bytes;
  if (!message.reached[1 - self]) return simulated::kBlocked;
  if (message.bytes[0] != message.bytes[1]) {
    for (End& other : end.room->ends) other.error = kInvalidArgument;
    return simulated::kBlocked;
  }
  Machine& machine = Machine::here();
  if (!machine.may_touch(message.data[0], bytes, "what a link sends") ||
      !machine.may_touch(message.data[1], bytes, "where a link's message goes"))
    return simulated::kBlocked;
  std::memcpy(message.data[1], message.data[0], bytes);
  message.through = true;
  ++the_state->through;
  return 0;
}

int queue_message(void* link, void* data, std::size_t bytes, void* stream) {
  return guarded([&](SimulatedNccl::State& state) {
    auto& end = *static_cast<End*>(link);
    if (end.aborted) return kInvalidArgument;
    if (end.error != 0) return end.error;
    if (++state.sent == state.fail_at) end.error = kRemoteError;
    const std::size_t n = end.queued++;
    if (end.room->messages.size() <= n) end.room->messages.resize(n + 1);
    Machine::here().put(
        stream, {[&end, n, data, bytes] { return meet(end, n, data, bytes); }, nullptr, 0, false});
    end.busy = state.random() % 3;
    return 0;
  });
}

int connect(int number, const void* id, void** link) {
  return guarded([&](SimulatedNccl::State& state) {
    std::uint64_t name = 0;
    std::memcpy(&name, id, sizeof name);
    const auto found = state.rooms.find(name);
    if (found == state.rooms.end() || number < 0 || number > 1 ||
        found->second->joined[static_cast<std::size_t>(number)])
      return kInvalidArgument;
    Room& room = *found->second;
    room.joined[static_cast<std::size_t>(number)] = true;
    End& end = room.ends[static_cast<std::size_t>(number)];
    end.room = &room;
    end.number = number;
    end.busy = state.random() % 5;
    *link = &end;
    return 0;
  });
}

int state_of(void* link) {
  return guarded([&](SimulatedNccl::State& state) {
    auto& end = *static_cast<End*>(link);
    if (end.error != 0) return end.error;
    if (state.refuses) return kRemoteError;
    if (!end.room->joined[0] || !end.room->joined[1]) return int{TESSERA_NCCL_IN_PROGRESS};
    if (end.busy == 0) return int{TESSERA_NCCL_OK};
    --end.busy;
    return int{TESSERA_NCCL_IN_PROGRESS};
  });
}

}  // namespace

SimulatedNccl::SimulatedNccl(std::uint64_t seed) : state_(std::make_unique<State>()) {
  state_->random.seed(seed);
  TesseraNcclApi& api = state_->api;
  api.version = TESSERA_NCCL_MODULE_VERSION;
  api.library_version = [] { return "simulated NCCL"; };
  api.unavailable = []() -> const char* { return nullptr; };
  api.error_text = [](int status) {
    return status == kRemoteError ? "remote error" : "invalid argument";
  };
  api.unique_id = [](void* id) {
    return guarded([&](State& state) {
      const std::uint64_t name = ++state.ids;
      state.rooms[name] = std::make_unique<Room>();
      std::memset(id, 0, TESSERA_NCCL_ID_BYTES);
      std::memcpy(id, &name, sizeof name);
      return 0;
    });
  };
  api.connect = connect;
  api.state = state_of;
  api.send = [](void* link, const void* data, std::size_t bytes, void* stream) {
    return queue_message(link, const_cast<void*>(data), bytes, stream);
  };
  api.receive = queue_message;
  api.abort = [](void* link) {
    guarded([&](State&) {
      static_cast<End*>(link)->aborted = true;
      return 0;
    });
  };
  the_state = state_.get();
}

SimulatedNccl::~SimulatedNccl() { the_state = nullptr; }

const TesseraNcclApi& SimulatedNccl::api() const noexcept { return state_->api; }

void SimulatedNccl::fail_message(std::int64_t n) {
  guarded([&](State& state) {
    state.sent = 0;
    state.fail_at = n;
    return 0;
  });
}

void SimulatedNccl::refuse_links() {
  guarded([](State& state) {
    state.refuses = true;
    return 0;
  });
}

std::int64_t SimulatedNccl::messages() const {
  const std::lock_guard lock(Machine::here().mutex);
  return state_->through;
}

std::int64_t SimulatedNccl::links() const {
  const std::lock_guard lock(Machine::here().mutex);
  std::int64_t count = 0;
  for (const auto& [name, room] : state_->rooms) {
    for (std::size_t e = 0; e < 2; ++e) count += room->joined[e] && !room->ends[e].aborted ? 1 : 0;
  }
  return count;
}

}  // namespace tessera::testing
