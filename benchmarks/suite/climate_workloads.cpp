// Statistics of fields over time, latitude and longitude.

#include <algorithm>

#include "benchmarks/suite/workload.hpp"

namespace tessera::benchmarks {
namespace {

namespace ts = tessera;

/// Latitudes and longitudes (twice as many) of a field of which `count` make about `bytes`.
std::int64_t latitudes(std::int64_t bytes, std::int64_t count) {
  std::int64_t n = 4;
  while (16 * (n + 4) * (n + 4) * count <= bytes) n += 4;
  return n;
}

std::vector<std::int64_t> labels(std::int64_t count,
                                 const std::function<std::int64_t(std::int64_t)>& f) {
  std::vector<std::int64_t> out(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) out[static_cast<std::size_t>(i)] = f(i);
  return out;
}

void anomaly(Measure& row) {
  row.open_scaled_session();
  const std::int64_t days = 4 * 365;
  const std::int64_t lat = latitudes(row.sizes().memory_bytes / 8, days);
  row.say("days", days);
  row.say("year", 365);
  row.say("lat", lat);
  row.say("chunk", 365);
  const Input in(row, {days, lat, 2 * lat}, {365, lat, 2 * lat});
  const std::vector<std::int64_t> day = labels(days, [](std::int64_t i) { return i % 365; });
  const std::int64_t elements = days * 2 * lat * lat;
  row.measure({24 * elements, 3 * elements}, {}, [&] {
    const ts::Array mean = ts::groupby_reduce(in.x, day, "mean");
    const ts::Array rest = in.x - ts::take(mean, day);
    return std::vector{ts::mean(rest, {.axis = 0}), rest[{-1}]};
  });
  // Means of what is left of a mean: rounding alone.
  row.agree(0, {.relative = 0.0, .absolute = 1e-12});
  row.agree(1, {});
}

void ensemble_mean(Measure& row) {
  row.open_scaled_session();
  const std::int64_t members = 4, starts = 24, leads = 6, levels = 5;
  const std::int64_t lat =
      latitudes(row.sizes().memory_bytes / 8, members * starts * leads * levels);
  row.say("members", members);
  row.say("starts", starts);
  row.say("leads", leads);
  row.say("levels", levels);
  row.say("lat", lat);
  const Input in(row, {members, starts, leads, levels, lat, 2 * lat},
                 {1, 1, leads, levels, lat, 2 * lat});
  const std::vector<std::int64_t> month = labels(starts, [](std::int64_t i) { return i % 12; });
  const std::int64_t elements = members * starts * leads * levels * 2 * lat * lat;
  row.measure({8 * elements, elements}, {}, [&] {
    return std::vector{ts::groupby_reduce(ts::mean(in.x, {.axis = 0}), month, "mean")};
  });
  row.agree(0, {});
}

void quadratic_means(Measure& row) {
  row.open_scaled_session();
  const std::int64_t times = 1000;
  const std::int64_t lat = latitudes(row.sizes().memory_bytes / 16, times);
  row.say("times", times);
  row.say("lat", lat);
  row.say("chunk", 50);
  const Input u(row, {times, lat, 2 * lat}, {50, lat, 2 * lat});
  const Input v(row, {times, lat, 2 * lat}, {50, lat, 2 * lat}, 1);
  const std::int64_t elements = times * 2 * lat * lat;
  row.measure({16 * elements, 6 * elements}, {}, [&] {
    return std::vector{ts::mean(u.x * u.x, {.axis = 0}), ts::mean(v.x * v.x, {.axis = 0}),
                       ts::mean(u.x * v.x, {.axis = 0})};
  });
  for (std::size_t k = 0; k < 3; ++k) row.agree(k, {});
}

/// Means over 61 days around each, along axis 0.
ts::Array window_mean(const ts::Array& x) {
  ts::MapOverlapOptions options;
  options.depth = {30, 0, 0, 0};
  options.boundary = {ts::Boundary::kPeriodic, ts::Boundary::kNone, ts::Boundary::kNone,
                      ts::Boundary::kNone};
  options.pure = true;
  return ts::map_overlap(
      x,
      [](const ts::InputBlock& in, const ts::OutputBlock& out) {
        const double* from = in.as<double>();
        double* to = out.as<double>();
        const std::int64_t first = out.start[0] - in.start[0] - 30;
        for (std::int64_t h = 0; h < out.shape[1]; ++h) {
          for (std::int64_t j = 0; j < out.shape[2]; ++j) {
            const double* x = from + first * in.strides[0] + h * in.strides[1] + j * in.strides[2];
            double* y = to + h * out.strides[1] + j * out.strides[2];
            std::vector<double> sums(static_cast<std::size_t>(out.shape[3]));
            for (std::int64_t i = 0; i < 61; ++i) {
              for (std::size_t k = 0; k < sums.size(); ++k)
                sums[k] += x[i * in.strides[0] + static_cast<std::int64_t>(k)];
            }
            for (std::int64_t i = 0; i < out.shape[0]; ++i) {
              const double* leaves = x + i * in.strides[0];
              const bool more = i + 1 < out.shape[0];
              const double* enters = more ? leaves + 61 * in.strides[0] : leaves;
              for (std::size_t k = 0; k < sums.size(); ++k) {
                y[i * out.strides[0] + static_cast<std::int64_t>(k)] = sums[k] * (1.0 / 61.0);
                sums[k] += enters[k] - leaves[k];
              }
            }
          }
        }
      },
      options);
}

void hourly_climatology(Measure& row) {
  row.open_scaled_session();
  const std::int64_t years = 5, days = 365, hours = 4;
  const std::int64_t lat = latitudes(row.sizes().memory_bytes / 8, years * days * hours);
  row.say("years", years);
  row.say("days", days);
  row.say("hours", hours);
  row.say("lat", lat);
  row.say("chunk", 73);
  const Input in(row, {years, days, hours, lat, 2 * lat}, {1, 73, hours, lat, 2 * lat});
  const std::int64_t elements = years * days * hours * 2 * lat * lat;
  row.measure({8 * elements + 8 * elements / years, elements + 3 * elements / years}, {},
              [&] { return std::vector{window_mean(ts::mean(in.x, {.axis = 0}))}; });
  row.agree(0, {.relative = 1e-10});
}

void zonal_covariance(Measure& row) {
  row.open_scaled_session();
  const std::int64_t days = 30, hours = 24, levels = 4;
  const std::int64_t times = days * hours;
  const std::int64_t lat = latitudes(row.sizes().memory_bytes / 24, times * levels);
  row.say("days", days);
  row.say("hours", hours);
  row.say("levels", levels);
  row.say("lat", lat);
  const ts::Shape shape{times, levels, lat, 2 * lat};
  const ts::Chunks chunks{hours, levels, lat, 2 * lat};
  const Input u(row, shape, chunks);
  const Input v(row, shape, chunks, 1);
  const Input t(row, shape, chunks, 2);
  const std::vector<std::int64_t> day = labels(times, [&](std::int64_t i) { return i / hours; });
  const std::int64_t elements = times * levels * 2 * lat * lat;
  const auto eddies = [](const ts::Array& x) {
    return x - ts::mean(x, {.axis = -1, .keepdims = true});
  };
  row.measure({24 * elements, 10 * elements}, {}, [&] {
    const ts::Array vp = eddies(v.x);
    const auto daily = [&](const ts::Array& product) {
      return ts::groupby_reduce(ts::mean(product, {.axis = -1}), day, "mean");
    };
    return std::vector{daily(eddies(u.x) * vp), daily(vp * eddies(t.x))};
  });
  row.agree(0, {.relative = 1e-10});
  row.agree(1, {.relative = 1e-10});
}

constexpr Workload kWorkloads[] = {
    {"anomaly", "x - x grouped by day of year, then the mean", anomaly},
    {"ensemble_mean", "mean over members and months of a 6-d ensemble", ensemble_mean},
    {"quadratic_means", "time means of u * u, v * v and u * v", quadratic_means},
    {"hourly_climatology", "mean over years, smoothed over 61 days", hourly_climatology},
    {"zonal_covariance", "daily means of u'v' and v'T'", zonal_covariance},
};

}  // namespace

std::span<const Workload> climate_workloads() { return kWorkloads; }

}  // namespace tessera::benchmarks
