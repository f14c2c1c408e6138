#include "scheduler/executor/task_error.hpp"

#include <new>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {
namespace {

std::string origin_line(const PlanNode& node, std::int64_t block) {
  std::string origin = node.spec ? node.spec->origin(block) : std::string();
  if (origin.empty()) origin = node.origin;
  return origin.empty() ? origin : "\n  built at " + origin;
}

}  // namespace

std::exception_ptr with_frame(const std::exception_ptr& error, const std::string& where,
                              const std::string& frame) {
  try {
    std::rethrow_exception(error);
  } catch (const InvalidArgument& e) {
    return std::make_exception_ptr(InvalidArgument(e.what() + frame));
  } catch (const OutOfMemory& e) {
    return std::make_exception_ptr(
        OutOfMemory(e.what() + frame, e.requested_bytes, e.free_bytes, e.budget_bytes));
  } catch (const DeviceError& e) {
    return std::make_exception_ptr(DeviceError(e.what() + frame));
  } catch (const LibraryError& e) {
    return std::make_exception_ptr(LibraryError(e.what() + frame));
  } catch (const IoError& e) {
    return std::make_exception_ptr(IoError(e.what() + frame));
  } catch (const CommError& e) {
    return std::make_exception_ptr(CommError(e.what() + frame));
  } catch (const Cancelled& e) {
    return std::make_exception_ptr(Cancelled(e.what() + frame));
  } catch (const Error& e) {
    return std::make_exception_ptr(Error(e.what() + frame));
  } catch (const std::bad_alloc&) {
    return std::make_exception_ptr(OutOfMemory(
        core::text("[", where, "] the machine must have memory beside the budgets; got ",
                   "std::bad_alloc; try smaller budgets", frame),
        0, 0, 0));
  } catch (const std::exception& e) {
    return std::make_exception_ptr(Error(core::text("[", where, "] ", e.what(), frame)));
  } catch (...) {
    return std::make_exception_ptr(Error(core::text(
        "[", where, "] what is thrown must be a std::exception; got another type", frame)));
  }
}

std::string block_name(const Plan& plan, NodeIndex node, std::int64_t block) {
  BlockIndex coords(plan.nodes[static_cast<std::size_t>(node)].counts.size());
  plan.decode(node, block, coords.data());
  return to_string(coords);
}

std::string task_frame(const Plan& plan, NodeIndex node, std::int64_t block,
                       const std::string& device) {
  const PlanNode& n = plan.nodes[static_cast<std::size_t>(node)];
  return core::text("\n  in ", n.label, ", block ", block_name(plan, node, block), ", device ",
                    device, origin_line(n, block));
}

std::string move_frame(const Plan& plan, NodeIndex node, std::int64_t block,
                       const std::string& from, const std::string& to) {
  const PlanNode& n = plan.nodes[static_cast<std::size_t>(node)];
  return core::text("\n  moving block ", block_name(plan, node, block), " of ", n.label, " from ",
                    from, " to ", to, origin_line(n, block));
}

}  // namespace tessera::scheduler
