#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/messenger.hpp"

// The processes that compute together, as one of them sees them.

namespace tessera::comm {

class World {
 public:
  virtual ~World() = default;
  virtual Rank rank() const noexcept = 0;
  virtual std::int32_t ranks() const noexcept = 0;
  /// The machine that a rank runs on, for errors.
  virtual const std::string& host(Rank rank) const = 0;
  /// What that rank said of the devices that it is to use on its machine: ranks of one machine that
  /// say the same share them.
  virtual const std::string& devices(Rank) const { return no_devices_; }
  /// The memory of each of them, as far as that rank knew when it came; 0: it did not say.
  virtual std::size_t device_bytes(Rank) const { return 0; }
  /// The same number on all ranks of a job, another one in the next job.
  virtual std::uint64_t job_number() const noexcept = 0;
  /// Whether those that are left go on when ranks are lost; the same on all ranks of a job.
  virtual bool recovers() const noexcept { return false; }
  /// Null with one rank.
  virtual Messenger* messenger() noexcept = 0;

  /// What the messenger was started with, kept for as long as it tells anything.
  std::shared_ptr<Receiver> receiver;

 private:
  const std::string no_devices_;
};

/// What a rank says of itself to those that it meets.
struct RankCard {
  std::string build;    ///< what must be the same on all ranks: version, and what bits depend on
  std::string devices;  ///< that it is to use on its machine
  std::size_t device_bytes = 0;  ///< memory of each, free or in all; 0: unknown
};

/// The world of this process, joined at the first call: what a launcher's variables say, or one
/// rank without them. `card` is asked for where there are several. \throws CommError naming the
/// rank that is missing, twice there or of another build; InvalidArgument for variables that cannot
/// be meant.
World& process_world(const std::function<RankCard()>& card);

}  // namespace tessera::comm
