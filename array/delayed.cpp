#include "tessera/delayed.hpp"

#include "array/node.hpp"
#include "tessera/manipulation.hpp"

namespace tessera::detail {

namespace {
using Pending = std::vector<std::shared_ptr<Call>>;
// The list that the outermost release on this thread works off; null while none runs.
thread_local Pending* draining = nullptr;
}  // namespace

// Whether the caller may go on, alone: false once the call has run.
bool Call::begin() const noexcept {
  for (;;) {
    State seen = State::kNew;
    if (state_.compare_exchange_strong(seen, State::kBusy)) return true;
    if (seen == State::kDone) return false;
    state_.wait(State::kBusy);
  }
}

void Call::end(State state) const noexcept {
  state_.store(state);
  state_.notify_all();
}

void Call::run(std::span<const InputBlock> arrays) {
  if (!begin()) return;
  try {
    invoke(arrays);
  } catch (...) {
    end(State::kNew);
    throw;
  }
  end(State::kDone);
}

void Call::visit_arguments(Visitor& visitor) const {
  if (!begin()) return;
  try {
    visit(visitor);
  } catch (...) {
    end(State::kNew);
    throw;
  }
  end(State::kNew);
}

void Call::release(std::shared_ptr<Call> call) noexcept {
  if (call.use_count() > 1) return;
  if (draining != nullptr) {
    try {
      draining->push_back(std::move(call));
    } catch (const std::bad_alloc&) {
      // Freed here and now, at the cost of some stack.
    }
    return;
  }
  Pending pending;
  draining = &pending;
  call.reset();
  while (!pending.empty()) {
    const std::shared_ptr<Call> next = std::move(pending.back());
    pending.pop_back();
  }
  draining = nullptr;
}

Array call_token(std::shared_ptr<Call> call) {
  // What the function throws names its own place; the token has none.
  return array::make_array("delayed", array::Awaited{std::move(call)}, {}, DType::kBool,
                           ChunkGrid(), std::source_location());
}

Array whole_block(const Array& array, std::source_location where) {
  return rechunk(array, Chunks(ChunkGrid::whole(array.shape())), where);
}

}  // namespace tessera::detail
