// A result that is larger than the memory it is computed in, and the same bits as with plenty.
#include <cstring>
#include <iostream>
#include <tessera/tessera.hpp>

namespace ts = tessera;

ts::Array expression() {
  const auto x = ts::random::normal({4'096, 4'096}, {.chunks = {256, 256}, .seed = 7});
  return x + x.T() - ts::mean(x, {.axis = 0});  // 128 MiB
}

int main() {
  const ts::HostArray plenty = expression().compute();

  ts::SessionOptions options;
  options.devices = "host:4";              // four virtual devices
  options.device_memory_bytes = 8u << 20;  // 8 MiB each: a quarter of the data together
  options.host_memory_bytes = 32u << 20;   // spilled blocks go here first, then to disk
  ts::Session session(options);
  const ts::HostArray little = session.compute({expression()})[0];

  const ts::RunReport run = session.last_run();
  std::cout << session.describe() << run.tasks << " tasks, " << ts::format_bytes(run.to_host_bytes)
            << " spilled to host memory, " << ts::format_bytes(run.to_disk_bytes) << " to disk, "
            << ts::format_bytes(run.device_to_device_bytes) << " between devices\n";
  const bool same = std::memcmp(plenty.data(), little.data(), plenty.nbytes()) == 0;
  std::cout << (same ? "same bits\n" : "DIFFERENT BITS\n");
  return same ? 0 : 1;
}
