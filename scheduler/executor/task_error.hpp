#pragma once

#include <exception>
#include <string>

#include "scheduler/plan/plan.hpp"

namespace tessera::scheduler {

/// The same error with `frame` appended to its text. Its dynamic type stays (an OutOfMemory keeps
/// its numbers); what is not a tessera::Error becomes one whose text names `where`.
std::exception_ptr with_frame(const std::exception_ptr& error, const std::string& where,
                              const std::string& frame);

/// "(0, 3)".
std::string block_name(const Plan& plan, NodeIndex node, std::int64_t block);
/// "\n  in add, block (0, 3), device host:1 of rank 0\n  built at model.cpp:12", the last line
/// where the node knows its origin.
std::string task_frame(const Plan& plan, NodeIndex node, std::int64_t block,
                       const std::string& device);
/// "\n  moving block (0, 3) of add from host:1 of rank 0 to the disk tier of rank 0\n
/// built at ...".
std::string move_frame(const Plan& plan, NodeIndex node, std::int64_t block,
                       const std::string& from, const std::string& to);

}  // namespace tessera::scheduler
