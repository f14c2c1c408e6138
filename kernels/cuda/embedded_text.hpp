#pragma once

#include <string_view>

namespace tessera::kernels::cuda {

/// The text of a file that CMakeLists.txt lists, named from the root of the tree.
/// \throws std::logic_error for another name.
std::string_view embedded_text(std::string_view file);

}  // namespace tessera::kernels::cuda
