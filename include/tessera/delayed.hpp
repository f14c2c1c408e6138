#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

#include "tessera/array.hpp"
#include "tessera/blocks.hpp"
#include "tessera/serializer.hpp"
#include "tessera/session.hpp"

// Delayed calls: any C++ function as a task of the graph, with arrays, other delayed calls and
// plain values as arguments. A call runs at most once, when a result that needs it is asked for;
// its value lives as long as a handle to it does, its arguments until it has run.
//
// Where several ranks compute together, one of them runs a call, and its value goes to those that
// read it: as tessera/serializer.hpp writes it, beside the blocks and in no budget. get() gives it
// to all ranks, which all ask for it. A computation that fails, or is begun again since a rank was
// lost, undoes the calls that it ran: these run once more when they are next asked for, on a copy
// of their function, where it has one. Calls whose values may be lost with a rank keep their
// arguments as long as there is a handle.

namespace tessera {

template <typename R>
class Delayed;

namespace detail {

/// One call: what it needs, and whether it has run.
class TESSERA_EXPORT Call {
 public:
  explicit Call(const std::source_location& where) noexcept
      : file_(where.file_name()), line_(where.line()) {}
  virtual ~Call() = default;
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  /// Whether the function has run and its value is here; of several ranks, on each of them.
  bool done() const noexcept { return holder_.load(std::memory_order_acquire) == kEverywhere; }
  /// Runs the function unless that has happened; a second thread waits for the first. `arrays` are
  /// the data of the arrays among the arguments. What the function throws comes through, and the
  /// call may be tried again. With `shared`, settle() or undo() ends what this begins.
  void run(std::span<const InputBlock> arrays, bool shared = false);

  /// What a call needs before it can run.
  class Visitor {
   public:
    virtual void call(const std::shared_ptr<Call>& call) = 0;
    virtual void array(const Array& whole) = 0;

   protected:
    ~Visitor() = default;
  };
  /// Names the arguments that are calls and arrays, from left to right; none once it has run.
  void visit_arguments(Visitor& visitor) const;

  const char* file() const noexcept { return file_; }
  std::uint32_t line() const noexcept { return line_; }

  // Of several ranks. All of them know the same of a call between computations: that it has not
  // run, on which rank it has, or that its value is on all. Whoever calls these has the ranks' turn
  // (scheduler/executor/exchange.hpp).

  static constexpr std::int32_t kEverywhere = -1;
  static constexpr std::int32_t kNowhere = -2;
  /// The rank that has run it, or one of the above.
  std::int32_t holder() const noexcept { return holder_.load(std::memory_order_acquire); }
  /// Whether the type of its value can be written.
  virtual bool is_serializable() const noexcept = 0;
  virtual const std::type_info& value_type() const noexcept = 0;
  /// The value, which is here, as bytes.
  std::string written() const;
  /// Takes the value of a call that another rank has run, unless it is here. False without memory.
  bool arrived(std::string bytes) noexcept;
  /// \throws what reading a value throws that has arrived; Error where none has.
  void find_value();
  /// The computation is over on all ranks, and has brought the value to `holder`. What that may be
  /// lost with keeps its arguments.
  void settle(std::int32_t holder, bool may_be_lost) noexcept;
  /// As if the call had not run: the computation has failed on some rank.
  void undo() noexcept;
  /// The same of a settled one: its value is lost with the rank that had it.
  void lose() noexcept;

 protected:
  virtual void visit(Visitor& visitor) const = 0;
  /// `again`: it may be called once more.
  virtual void invoke(std::span<const InputBlock> arrays, bool again) = 0;
  virtual void drop_arguments() noexcept = 0;
  virtual void write(ByteWriter& to) const = 0;
  virtual void read(ByteReader& from) = 0;
  virtual void drop_value() noexcept = 0;
  virtual bool has_value() const noexcept = 0;
  /// Makes a value of what has arrived, unless that has happened.
  void read_arrived();
  [[noreturn]] void throw_apart() const;
  /// Lets go of a handle in a destructor without recursion, however long the chain behind it.
  static void release(std::shared_ptr<Call> call) noexcept;

 private:
  enum class State : std::uint8_t {
    kNew,
    kBusy,     ///< a thread runs it, reads its value, or looks at its arguments
    kArrived,  ///< the value is here as bytes
    kDone,     ///< the value is here
    kApart,    ///< it has run on another rank
  };
  bool begin(State from) const noexcept;
  State hold() const noexcept;
  void end(State state) const noexcept;
  const char* file_;
  std::uint32_t line_;
  mutable std::atomic<State> state_{State::kNew};
  std::atomic<std::int32_t> holder_{kNowhere};
  std::unique_ptr<std::string> bytes_;
};

template <typename R>
class CallResult : public Call {
 public:
  using Call::Call;
  using Value = std::conditional_t<std::is_void_v<R>, std::monostate, R>;
  /// Of a call whose value is here.
  const Value& result() {
    find_value();
    return *value;
  }
  bool is_serializable() const noexcept override { return Serializable<Value>; }
  const std::type_info& value_type() const noexcept override { return typeid(R); }

 protected:
  std::optional<Value> value;

 private:
  void write([[maybe_unused]] ByteWriter& to) const override {
    if constexpr (Serializable<Value>) to.write(*value);
  }
  void read([[maybe_unused]] ByteReader& from) override {
    if constexpr (Serializable<Value>) value.emplace(from.read<Value>());
  }
  void drop_value() noexcept override { value.reset(); }
  bool has_value() const noexcept override { return value.has_value(); }
};

/// A 0-d bool array, true once the call has run.
TESSERA_EXPORT Array call_token(std::shared_ptr<Call> call);
/// Runs calls that have not run, and what they need.
TESSERA_EXPORT void run_calls(const std::vector<std::shared_ptr<Call>>& calls,
                              const RunOptions& options);
/// The array as one block, for an argument that is handed over whole.
TESSERA_EXPORT Array whole_block(const Array& array, std::source_location where);

template <typename T>
struct CallArgument {
  T value;
  void visit(Call::Visitor&) const {}
  const T& resolve(std::span<const InputBlock>, std::size_t&) const { return value; }
  template <typename Release>
  void let_go(Release&&) noexcept {}
};
template <typename R>
struct CallArgument<Delayed<R>> {
  std::shared_ptr<CallResult<R>> value;
  void visit(Call::Visitor& visitor) const { visitor.call(value); }
  const auto& resolve(std::span<const InputBlock>, std::size_t&) const { return value->result(); }
  template <typename Release>
  void let_go(Release&& release) noexcept {
    release(std::move(value));
  }
};
template <>
struct CallArgument<Array> {
  Array value;
  void visit(Call::Visitor& visitor) const { visitor.array(value); }
  HostArray resolve(std::span<const InputBlock> arrays, std::size_t& next) const {
    const InputBlock& block = arrays[next++];
    // Borrowed for the call: the block stays where it is.
    return HostArray(Shape(block.shape.begin(), block.shape.end()), block.dtype,
                     {std::shared_ptr<std::byte>(), const_cast<std::byte*>(block.data)});
  }
  template <typename Release>
  void let_go(Release&&) noexcept {}
};

template <typename T>
CallArgument<T> make_argument(const T& value, const std::source_location&) {
  return {value};
}
inline CallArgument<Array> make_argument(const Array& array, const std::source_location& where) {
  return {whole_block(array, where)};
}
template <typename R>
CallArgument<Delayed<R>> make_argument(const Delayed<R>& call, const std::source_location&) {
  return {call.state()};
}

template <typename F, typename... Arguments>
using CallReturn =
    std::decay_t<decltype(std::declval<F&>()(std::declval<const Arguments&>().resolve(
        std::declval<std::span<const InputBlock>>(), std::declval<std::size_t&>())...))>;

/// A call with its function and arguments, which it gives up once it has run.
template <typename F, typename... Arguments>
class CallOf final : public CallResult<CallReturn<F, Arguments...>> {
  using R = CallReturn<F, Arguments...>;

 public:
  CallOf(const std::source_location& where, F function, Arguments... arguments)
      : CallResult<R>(where), work_(std::in_place, std::move(function), std::move(arguments)...) {}
  ~CallOf() override { let_go(); }

  void visit(Call::Visitor& visitor) const override {
    if (!work_) return;
    std::apply([&](const auto&... a) { (a.visit(visitor), ...); }, work_->arguments);
  }

 private:
  struct Work {
    Work(F f, Arguments... a) : function(std::move(f)), arguments(std::move(a)...) {}
    [[no_unique_address]] F function;
    std::tuple<Arguments...> arguments;
  };
  void invoke(std::span<const InputBlock> arrays, bool again) override {
    // What a function does to itself is done to a copy, where it may have to begin anew.
    if constexpr (std::is_copy_constructible_v<F>) {
      if (again) {
        F copy = work_->function;
        return call(copy, arrays);
      }
    }
    call(work_->function, arrays);
  }
  void call(F& function, std::span<const InputBlock> arrays) {
    std::apply(
        [&](const auto&... a) {
          [[maybe_unused]] std::size_t next = 0;
          // Resolved in order, since each array takes the next block.
          std::tuple<decltype(a.resolve(arrays, next))...> values{a.resolve(arrays, next)...};
          std::apply(
              [&](auto&&... v) {
                if constexpr (std::is_void_v<R>) {
                  function(v...);
                  this->value.emplace();
                } else {
                  this->value.emplace(function(v...));
                }
              },
              values);
        },
        work_->arguments);
  }
  void drop_arguments() noexcept override { let_go(); }
  void let_go() noexcept {
    if (!work_) return;
    std::apply(
        [](auto&... a) { (a.let_go([](auto call) { Call::release(std::move(call)); }), ...); },
        work_->arguments);
    work_.reset();
  }
  std::optional<Work> work_;  // until it has run
};

}  // namespace detail

/// The result of a delayed call: a handle that is cheap to copy.
template <typename R>
class Delayed {
 public:
  /// Runs the call and all that it needs, unless that has happened, and returns its value.
  /// \throws what the function threw, as an Error that names the call.
  decltype(auto) get() const {
    if (!state_->done()) detail::run_calls({state_}, {});
    if constexpr (!std::is_void_v<R>) return static_cast<const R&>(state_->result());
  }
  /// A 0-d bool array, true once the call has run: asks for the call in compute() with arrays.
  Array token() const { return detail::call_token(state_); }

  explicit Delayed(std::shared_ptr<detail::CallResult<R>> state) : state_(std::move(state)) {}
  const std::shared_ptr<detail::CallResult<R>>& state() const noexcept { return state_; }

 private:
  std::shared_ptr<detail::CallResult<R>> state_;
};

/// A function call to be made later. Arguments that are `Array` reach the function as HostArray
/// (whole, dense, valid during the call), `Delayed<T>` as const T&, anything else as a copy. Calls
/// may run at the same time on several threads, and where several ranks compute together on any
/// one of them, if the result's type can be serialized. Errors name `where`.
/// Usage: `delayed(std::source_location::current(), read_text, path)`
template <typename F, typename... Args>
auto delayed(std::source_location where, F function, const Args&... args) {
  using Made = detail::CallOf<F, decltype(detail::make_argument(args, where))...>;
  using R = detail::CallReturn<F, decltype(detail::make_argument(args, where))...>;
  auto made =
      std::make_shared<Made>(where, std::move(function), detail::make_argument(args, where)...);
  return Delayed<R>(std::shared_ptr<detail::CallResult<R>>(std::move(made)));
}
/// The same without a place. Usage: `auto n = delayed(count_words, delayed(read_text, path));`
template <typename F, typename... Args>
auto delayed(F function, const Args&... args) {
  return delayed(std::source_location(), std::move(function), args...);
}

/// Runs all of the calls that have not run, and what they need, sharing what is common.
/// \throws what the first failing function threw, as an Error that names its call.
template <typename R>
void compute(const std::vector<Delayed<R>>& calls, const RunOptions& options = {}) {
  std::vector<std::shared_ptr<detail::Call>> states;
  states.reserve(calls.size());
  for (const Delayed<R>& call : calls) states.push_back(call.state());
  detail::run_calls(states, options);
}

}  // namespace tessera
