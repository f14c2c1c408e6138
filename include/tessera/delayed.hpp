#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "tessera/array.hpp"
#include "tessera/blocks.hpp"
#include "tessera/session.hpp"

// Delayed calls: any C++ function as a task of the graph, with arrays, other delayed calls and plain values
// as arguments. A call runs at most once, when a result that needs it is asked for; its value lives as long
// as a handle to it does.

namespace tessera {

template <typename R>
class Delayed;

namespace detail {

/// The value of one call, once it has run.
template <typename R>
struct DelayedValue {
  std::optional<R> value;
};
template <>
struct DelayedValue<void> {
  std::optional<std::monostate> value;
};

/// Builds the node: a task without a block of its own that calls `run` with the inputs' data.
TESSERA_EXPORT Array delayed_node(std::function<void(std::span<const InputBlock>)> run, std::vector<Array> inputs,
                                  std::source_location where);
/// The array as one block, for an argument that is handed over whole.
TESSERA_EXPORT Array whole_block(const Array& array, std::source_location where);

template <typename T>
struct DelayedArgument {
  T value;
  static constexpr bool kInput = false;
  const T& resolve(std::span<const InputBlock>, std::size_t&) const { return value; }
};
template <typename R>
struct DelayedArgument<Delayed<R>> {
  std::shared_ptr<const DelayedValue<R>> value;
  static constexpr bool kInput = true;
  const R& resolve(std::span<const InputBlock>, std::size_t& next) const {
    ++next;
    return *value->value;
  }
};
template <>
struct DelayedArgument<Array> {
  static constexpr bool kInput = true;
  HostArray resolve(std::span<const InputBlock> inputs, std::size_t& next) const {
    const InputBlock& block = inputs[next++];
    // Borrowed for the call: the block stays where it is.
    return HostArray(Shape(block.shape.begin(), block.shape.end()), block.dtype,
                     {std::shared_ptr<std::byte>(), const_cast<std::byte*>(block.data)});
  }
};

template <typename T>
auto make_argument(const T& value, std::vector<Array>&, std::source_location) {
  return DelayedArgument<T>{value};
}
inline auto make_argument(const Array& array, std::vector<Array>& inputs, std::source_location where) {
  inputs.push_back(whole_block(array, where));
  return DelayedArgument<Array>{};
}
template <typename R>
auto make_argument(const Delayed<R>& call, std::vector<Array>& inputs, std::source_location) {
  inputs.push_back(call.token());
  return DelayedArgument<Delayed<R>>{call.state()};
}

}  // namespace detail

/// The result of a delayed call: a handle that is cheap to copy.
template <typename R>
class Delayed {
 public:
  /// Runs the call and all that it needs, unless that has happened, and returns its value.
  /// \throws what the function threw, as an Error that names the call.
  decltype(auto) get() const {
    if (!state_->value) tessera::compute({token_});
    if constexpr (!std::is_void_v<R>) return static_cast<const R&>(*state_->value);
  }
  /// A 0-d array that stands for "this call has run" in compute() with others.
  const Array& token() const noexcept { return token_; }

  Delayed(Array token, std::shared_ptr<detail::DelayedValue<R>> state)
      : token_(std::move(token)), state_(std::move(state)) {}
  const std::shared_ptr<detail::DelayedValue<R>>& state() const noexcept { return state_; }

 private:
  Array token_;
  std::shared_ptr<detail::DelayedValue<R>> state_;
};

/// A function call to be made later. Arguments that are `Array` reach the function as HostArray (whole, dense,
/// valid during the call), `Delayed<T>` as const T&, anything else as a copy. Calls may run at the same time
/// on several threads.
/// Usage: `auto n = delayed(count_words, delayed(read_text, path)); n.get();`
template <typename F, typename... Args>
auto delayed(F function, const Args&... args) {
  const auto where = std::source_location::current();
  std::vector<Array> inputs;
  inputs.reserve(sizeof...(Args));
  // Braces: inputs are numbered from left to right.
  std::tuple<decltype(detail::make_argument(args, inputs, where))...> arguments{
      detail::make_argument(args, inputs, where)...};
  using R = std::decay_t<decltype(std::apply(
      [&](const auto&... a) -> decltype(auto) {
        [[maybe_unused]] std::size_t next = 0;
        return function(a.resolve(std::span<const InputBlock>(), next)...);
      },
      arguments))>;
  auto state = std::make_shared<detail::DelayedValue<R>>();
  auto run = [state, function = std::move(function),
              arguments = std::move(arguments)](std::span<const InputBlock> blocks) mutable {
    if (state->value) return;
    std::apply(
        [&](const auto&... a) {
          [[maybe_unused]] std::size_t next = 0;
          // Resolved in order, since each takes the next input.
          std::tuple<decltype(a.resolve(blocks, next))...> values{a.resolve(blocks, next)...};
          std::apply(
              [&](auto&&... v) {
                if constexpr (std::is_void_v<R>) {
                  function(v...);
                  state->value.emplace();
                } else {
                  state->value.emplace(function(v...));
                }
              },
              values);
        },
        arguments);
  };
  Array token = detail::delayed_node(std::move(run), std::move(inputs), where);
  return Delayed<R>(std::move(token), std::move(state));
}

}  // namespace tessera
