#include "fault_workloads.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "io/netcdf/netcdf_library.hpp"
#include "tessera/tessera.hpp"

namespace tessera::testing {

std::stop_source stopping;

Bytes take_saved(const std::string& folder) {
  const std::string path = folder + "/result";
  std::ifstream in(path, std::ios::binary);
  const std::vector<char> chars((std::istreambuf_iterator<char>(in)), {});
  std::filesystem::remove(path);
  Bytes out(chars.size());
  std::memcpy(out.data(), chars.data(), chars.size());
  return out;
}

namespace {

void append(Bytes& out, const HostArray& array) {
  out.insert(out.end(), array.data(), array.data() + array.nbytes());
}
Bytes bytes_of(const std::vector<HostArray>& arrays) {
  Bytes out;
  for (const HostArray& array : arrays) append(out, array);
  return out;
}
// What is kept spills.
Bytes computed(const std::vector<Array>& arrays) {
  const RunOptions options{.stop = stopping.get_token(), .progress = {}};
  return bytes_of(compute(persist(arrays, options), options));
}

Array sample(const Shape& shape, std::vector<std::int64_t> chunks, std::uint64_t seed = 1) {
  return random::normal(shape, {.chunks = Chunks(std::move(chunks)), .seed = seed});
}

void smooth(const InputBlock& in, const OutputBlock& out) {
  const auto* from = in.as<double>();
  auto* to = out.as<double>();
  for (std::int64_t i = 0; i < out.shape[0]; ++i) {
    for (std::int64_t j = 0; j < out.shape[1]; ++j) {
      const std::int64_t y = i + out.start[0] - in.start[0];
      const std::int64_t x = j + out.start[1] - in.start[1];
      double sum = 0.0;
      for (std::int64_t k = std::max<std::int64_t>(y - 1, 0); k <= std::min(y + 1, in.shape[0] - 1);
           ++k)
        sum += from[k * in.strides[0] + x * in.strides[1]];
      to[i * out.strides[0] + j * out.strides[1]] = sum;
    }
  }
}

double total(const HostArray& a, double factor) {
  double sum = 0.0;
  for (const double v : a.span<double>()) sum += factor * v;
  return sum;
}

Bytes delayed_calls(const std::string&) {
  const auto here = std::source_location::current();
  const Array x = sample({120, 80}, {30, 40});
  std::vector<Delayed<double>> sums;
  for (int i = 0; i < 4; ++i) sums.push_back(delayed(here, total, x + double(i), double(i)));
  const auto both = delayed(
      here, [](double a, double b) { return a - b; }, sums[1], sums[3]);
  sums.push_back(both);
  compute(sums, {.stop = stopping.get_token(), .progress = {}});
  Bytes out;
  for (const Delayed<double>& sum : sums) {
    const double value = sum.get();
    const auto* data = reinterpret_cast<const std::byte*>(&value);
    out.insert(out.end(), data, data + sizeof value);
  }
  return out;
}

Bytes saved(const std::string& folder) {
  save_npy(sample({60, 180}, {15, 60}) + 1.0, folder + "/result");
  return take_saved(folder);
}

Bytes drawn(const std::string& folder) {
  const Array kept = (sample({60, 180}, {15, 60}) + 1.0).persist();
  save_png(kept, folder + "/result");
  return take_saved(folder);
}

}  // namespace

std::vector<Workload> stoppable_workloads() {
  std::vector<Workload> out;
  const auto add = [&](std::string name, std::function<std::vector<Array>()> arrays) {
    out.push_back({std::move(name), [arrays](const std::string&) { return computed(arrays()); }});
  };
  add("fused_reduction", [] {
    const Array x = sample({210, 210}, {70, 70});
    return std::vector<Array>{exp(x) + x.T() - mean(x, {.axis = 0}), std(x)};
  });
  add("matmul", [] {
    const Array x = sample({140, 210}, {70, 70});
    return std::vector<Array>{matmul(x, sample({210, 70}, {70, 70}, 2)), matmul(x, x.T())};
  });
  add("transpose_and_rechunk", [] {
    const Array x = sample({210, 200}, {70, 50});
    return std::vector<Array>{x.T(), rechunk(x, Chunks({80, 90}))};
  });
  add("scan", [] {
    return std::vector<Array>{cumulative_sum(sample({240, 120}, {60, 60}), {.axis = 0})};
  });
  add("qr_and_svd", [] {
    const Array x = sample({1000, 16}, {125, 16});
    const QR f = qr(x);
    const SVD s = svd(x);
    return std::vector<Array>{f.q, f.r, s.u, s.s, s.vt};
  });
  add("map_overlap", [] {
    return std::vector<Array>{
        map_overlap(sample({210, 180}, {70, 60}), smooth, {.depth = {1, 0}, .name = "smooth"})};
  });
  add("sort", [] {
    const Array x = sample({240, 100}, {60, 100});
    return std::vector<Array>{sort(x, {.axis = 1}), topk(x, 3, 0).values};
  });
  add("groupby", [] {
    std::vector<std::int64_t> labels;
    for (std::int64_t i = 0; i < 120; ++i) labels.push_back(i % 50);
    return std::vector<Array>{groupby_reduce(sample({120, 210}, {40, 70}), labels, "var")};
  });
  add("counted", [] {
    const Array x = floor(sample({150, 120}, {50, 60}) * 3.0);
    return std::vector<Array>{unique_inverse(x).inverse_indices, masked_select(x, x > 0.0)};
  });
  out.push_back({"persist", [](const std::string&) {
                   const Array kept = (sample({120, 180}, {30, 60}) * 2.0).persist();
                   return computed({kept, kept.T() + 1.0});
                 }});
  out.push_back({"delayed", delayed_calls});
  if (io::netcdf_module_status().available) {
    add("open_netcdf", [] {
      const Array x = open(TESSERA_IO_DATA "/pile/*.nc", "tos");
      return std::vector<Array>{x * 2.0, mean(x, {.axis = 0})};
    });
  }
  return out;
}

std::vector<Workload> all_workloads() {
  std::vector<Workload> out = stoppable_workloads();
  out.push_back({"save_npy", saved});
  return out;
}

Workload picture_workload() { return {"save_png", drawn}; }

}  // namespace tessera::testing
