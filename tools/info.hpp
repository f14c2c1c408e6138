#pragma once

#include <iosfwd>

namespace tessera {

/// Prints what `tessera info` prints; 0.
int print_info(std::ostream& out);

}  // namespace tessera
