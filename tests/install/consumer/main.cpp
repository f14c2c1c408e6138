#include <iostream>

#include <tessera/chunk_grid.hpp>
#include <tessera/error.hpp>
#include <tessera/version.hpp>

namespace ts = tessera;

int main() {
  const ts::ChunkGrid grid = ts::Chunks({4, -1}).resolve({10, 6}, ts::float64, "consumer");
  if (grid.block_count() != 3) return 1;
  try {
    ts::broadcast_shapes({2, 3}, {4}, "consumer");
    return 1;
  } catch (const ts::InvalidArgument& error) {
    std::cerr << error.what() << '\n';  // thrown inside the library, caught by its type outside
  }
  std::cout << "tessera " TESSERA_VERSION_STRING " works\n";
}
