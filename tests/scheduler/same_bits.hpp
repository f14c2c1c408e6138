#pragma once

#include <gtest/gtest.h>

#include <cctype>
#include <cstring>
#include <string>
#include <vector>

#include "engine_workloads.hpp"

namespace tessera::testing {

/// A workload's name as a test's: letters and digits.
inline std::string test_name(const Workload& workload) {
  std::string out;
  for (const char c : workload.name) out += std::isalnum(c) != 0 ? c : '_';
  return out;
}

/// Fails the test where results differ in a bit; `what` is said of them.
inline void expect_same(const std::vector<HostArray>& wanted, const std::vector<HostArray>& got,
                        const std::string& what) {
  ASSERT_EQ(wanted.size(), got.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(wanted[i].nbytes(), got[i].nbytes()) << what;
    EXPECT_EQ(std::memcmp(wanted[i].data(), got[i].data(), got[i].nbytes()), 0) << what << ", result " << i;
  }
}

}  // namespace tessera::testing
