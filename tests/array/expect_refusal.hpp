#pragma once

#include <gtest/gtest.h>

#include <string>

#include "tessera/error.hpp"

namespace tessera::testing {

/// The text of the InvalidArgument that `call` throws; "nothing thrown" otherwise.
template <typename Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "nothing thrown";
}

}  // namespace tessera::testing

#define EXPECT_REFUSED(call, text) \
  EXPECT_EQ(::tessera::testing::refusal([&] { static_cast<void>(call); }), text)
