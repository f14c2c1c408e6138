// What each rank of ranks_test runs: ranks_program WHAT [ARGUMENT].

#include <unistd.h>
#include <xxhash.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "engine_workloads.hpp"
#include "tessera/tessera.hpp"

namespace {

using tessera::testing::workloads;

void print_hash(const std::string& name, const tessera::HostArray& array) {
  std::printf("%s %016llx\n", name.c_str(),
              static_cast<unsigned long long>(XXH3_64bits(array.data(), array.nbytes())));
}

/// Work of about a second, for ranks that are killed meanwhile.
std::vector<tessera::HostArray> long_work(const std::string& which) {
  using namespace tessera;
  const Array x = random::normal({2000, 2000}, {.chunks = {250, 250}, .seed = 4});
  if (which == "product") return compute({matmul(x, x + 1.0), sum(matmul(x, transpose(x)))});
  if (which == "svd") {
    const Array tall = random::normal({2'000'000, 24}, {.chunks = {20'000, 24}, .seed = 5});
    const auto [u, s, vt] = svd(tall);
    return compute({s, sum(u * u, {.axis = 0}), vt});
  }
  if (which == "rechunk") {
    const Array y = random::normal({8000, 8000}, {.chunks = {500, 8000}, .seed = 6});
    const Array z = rechunk(exp(y), Chunks{8000, 500});
    return compute({mean(z, {.axis = 0}), sum(z + transpose(y), {.axis = 1})});
  }
  if (which == "delayed") {
    // Calls of some milliseconds each, of arrays, of each other, and of what an earlier computation
    // has left on some rank.
    const auto scan = [](std::int64_t k, const std::vector<double>& before) {
      std::vector<double> out(4000);
      for (int round = 0; round < 2000; ++round) {
        for (std::size_t i = 0; i < out.size(); ++i)
          out[i] = 0.5 * out[i] + static_cast<double>((k + 1) * static_cast<std::int64_t>(i) % 97) +
                   (before.empty() ? 0.0 : 0.25 * before[i]);
      }
      return out;
    };
    std::vector<Delayed<std::vector<double>>> level;
    for (std::int64_t k = 0; k < 64; ++k) level.push_back(delayed(scan, k, std::vector<double>()));
    std::vector<Delayed<double>> ends;
    for (std::size_t k = 0; k < level.size(); ++k) {
      level[k] = delayed(scan, static_cast<std::int64_t>(k), level[k * 7 % 64]);
      ends.push_back(delayed([](const std::vector<double>& v) { return v.back(); }, level[k]));
    }
    compute(ends);
    std::vector<Delayed<HostArray>> totals;
    for (std::size_t k = 0; k < 16; ++k) {
      const auto row = static_cast<std::int64_t>(k);
      totals.push_back(delayed(
          [](const HostArray& part, const std::vector<double>& weights) {
            HostArray out(
                {}, DType::kFloat64,
                std::shared_ptr<std::byte>(new std::byte[8], std::default_delete<std::byte[]>()));
            double total = 0.0;
            for (std::size_t i = 0; i < 4000; ++i) total += part.span<double>()[i] * weights[i];
            *out.span<double>().data() = total;
            return out;
          },
          reshape(x[{Slice(row, row + 4), Slice(0, 1000)}], {4000}), level[4 * k]));
    }
    compute(totals);
    std::vector<HostArray> out;
    for (const auto& total : totals) out.push_back(total.get());
    return out;
  }
  // Every round reads what the one before has kept.
  const Array small = x[{Slice(0, 1500), Slice(0, 1500)}];
  Array kept = small.persist();
  for (int i = 0; i < 6; ++i) {
    const Array next = matmul(kept, small);
    kept = (next / sqrt(mean(next * next))).persist();
  }
  return compute({kept, sum(kept)});
}

int run(const std::string& what, const std::string& argument) {
  if (what == "bits") {
    for (std::size_t w = 0; w < workloads().size(); ++w) {
      const std::vector<tessera::HostArray> results = tessera::compute(workloads()[w].make());
      for (std::size_t i = 0; i < results.size(); ++i)
        print_hash(std::to_string(w) + "." + std::to_string(i), results[i]);
    }
    return 0;
  }
  if (what == "unseeded") {
    print_hash("unseeded", tessera::random::uniform({100, 100}, {.chunks = {30, 30}}).compute());
    return 0;
  }
  if (what == "save") {
    const tessera::Array x = tessera::random::normal({500, 300}, {.chunks = {70, 90}, .seed = 4});
    tessera::save_npy(x + x * 2.0, argument);
    return 0;
  }
  if (what == "pile") {
    const tessera::Array x = tessera::random::normal({500, 300}, {.chunks = {70, 90}, .seed = 4});
    tessera::save_netcdf(x + x * 2.0, argument + "_*.nc", {.steps_per_file = 64});
    tessera::save_netcdf(tessera::mean(x, {.axis = 0}), argument + ".nc");
    return 0;
  }
  if (what == "differ") {
    const bool first = std::strcmp(std::getenv("TESSERA_RANK"), "0") == 0;
    const tessera::Array x = tessera::random::normal({50, 30}, {.chunks = {7, 9}, .seed = 4});
    (first ? tessera::sum(x) : tessera::std(x)).compute();
    return 0;
  }
  if (what == "survive" || what == "save_on") {
    sum(tessera::random::uniform({8, 8}, {.chunks = {4, 4}, .seed = 1})).compute();
    const char* rank = "0";
    for (const char* name : {"SLURM_PROCID", "PMIX_RANK", "TESSERA_RANK"}) {
      if (const char* value = std::getenv(name)) rank = value;
    }
    std::fprintf(stderr, "rank %s is process %d\n", rank, static_cast<int>(::getpid()));
    if (what == "survive") {
      const std::vector<tessera::HostArray> results = long_work(argument);
      for (std::size_t i = 0; i < results.size(); ++i)
        print_hash(argument + "." + std::to_string(i), results[i]);
      return 0;
    }
    const tessera::Array x = tessera::random::normal({3000, 1500}, {.chunks = {70, 90}, .seed = 4});
    const tessera::Array y = x + x * 2.0;
    const std::string end = argument.substr(argument.rfind('.'));
    if (end == ".npy") tessera::save_npy(y, argument);
    if (end == ".zarr") tessera::save_zarr(y, argument);
    if (end == ".nc") tessera::save_netcdf(y, argument, {.steps_per_file = 200});
    return 0;
  }
  if (what == "forever") {
    const std::size_t which = std::strtoul(argument.c_str(), nullptr, 10);
    for (int i = 0;; ++i) {
      tessera::compute(workloads()[which].make());
      if (i == 0) {
        std::printf("rank %s is process %d\n", std::getenv("TESSERA_RANK"),
                    static_cast<int>(::getpid()));
        std::fflush(stdout);
      }
    }
  }
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 3;
  }
}
