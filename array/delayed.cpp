#include "tessera/delayed.hpp"

#include "array/node.hpp"
#include "core/text.hpp"
#include "tessera/error.hpp"
#include "tessera/manipulation.hpp"

namespace tessera::detail {

namespace {
using Pending = std::vector<std::shared_ptr<Call>>;
// The list that the outermost release on this thread works off; null while none runs.
thread_local Pending* draining = nullptr;
}  // namespace

// Whether the caller may go on, alone, with a call in that state.
bool Call::begin(State from) const noexcept {
  for (;;) {
    State seen = from;
    if (state_.compare_exchange_strong(seen, State::kBusy)) return true;
    if (seen != State::kBusy) return false;
    state_.wait(State::kBusy);
  }
}

// Whatever it is, nobody else changes that now; what it was.
Call::State Call::hold() const noexcept {
  for (State seen = state_.load();;) {
    if (seen == State::kBusy) {
      state_.wait(State::kBusy);
      seen = state_.load();
    } else if (state_.compare_exchange_weak(seen, State::kBusy)) {
      return seen;
    }
  }
}

void Call::end(State state) const noexcept {
  state_.store(state);
  state_.notify_all();
}

void Call::run(std::span<const InputBlock> arrays, bool shared) {
  if (!begin(State::kNew)) return;
  try {
    invoke(arrays, shared);
  } catch (...) {
    end(State::kNew);
    throw;
  }
  if (!shared) {
    drop_arguments();
    holder_.store(kEverywhere, std::memory_order_release);
  }
  end(State::kDone);
}

void Call::visit_arguments(Visitor& visitor) const {
  if (holder() != kNowhere || !begin(State::kNew)) return;
  try {
    visit(visitor);
  } catch (...) {
    end(State::kNew);
    throw;
  }
  end(State::kNew);
}

std::string Call::written() const {
  ByteWriter out;
  write(out);
  return out.take();
}

bool Call::arrived(std::string bytes) noexcept {
  const State was = hold();
  const bool apart = was == State::kNew || was == State::kApart;
  try {
    if (apart) bytes_ = std::make_unique<std::string>(std::move(bytes));
  } catch (const std::bad_alloc&) {
    end(was);
    return false;
  }
  end(apart ? State::kArrived : was);
  return true;
}

void Call::find_value() {
  read_arrived();
  if (!has_value()) throw_apart();
}

void Call::read_arrived() {
  if (state_.load() == State::kDone || !begin(State::kArrived)) return;
  try {
    ByteReader from(*bytes_);
    read(from);
  } catch (...) {
    end(State::kArrived);
    throw;
  }
  bytes_.reset();
  end(State::kDone);
}

void Call::throw_apart() const {
  throw Error(core::text("[delayed] the value of the call at ", core::source_place(file_, line_),
                         " is not in this process; try get(), on all ranks"));
}

void Call::settle(std::int32_t holder, bool may_be_lost) noexcept {
  const State was = hold();
  if (holder == kEverywhere || !may_be_lost) drop_arguments();
  holder_.store(holder, std::memory_order_release);
  end(was == State::kNew ? State::kApart : was);
}

void Call::undo() noexcept {
  if (holder() == kNowhere) lose();
}

void Call::lose() noexcept {
  hold();
  holder_.store(kNowhere);
  drop_value();
  bytes_.reset();
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
