#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "core/file_system.hpp"
#include "core/text.hpp"
#include "tessera/tessera.hpp"
#include "tools/demo/parts.hpp"

namespace tessera::demo {
namespace {

constexpr std::int64_t kGroups = 12;
// The check recomputes from host memory: all of a small pile, else of a strip along the last axis.
constexpr std::int64_t kCheckedBytes = std::int64_t{512} << 20;

struct Statistics {
  Array mean;
  Array months;
  Array spread;
};

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

std::string largest_variable(const std::string& path) {
  const VariableInfo* best = nullptr;
  const std::vector<VariableInfo> all = list_variables(path);
  for (const VariableInfo& variable : all) {
    // Time bounds have a time axis too, but are no data.
    if (variable.time_axis < 0 || variable.shape.size() < 2) continue;
    if (best == nullptr || element_count(variable.shape) > element_count(best->shape))
      best = &variable;
  }
  if (best == nullptr) {
    throw InvalidArgument(
        core::text("[demo] the files must hold a variable with a time axis; got ", path));
  }
  return best->name;
}

std::vector<std::int64_t> months_of(const VariableInfo& info) {
  for (const Coordinate& coordinate : info.coordinates) {
    if (info.time_axis < 0 || coordinate.dimension != info.dimensions[at(info.time_axis)]) continue;
    if (!coordinate.dates_problem.empty()) throw IoError(coordinate.dates_problem);
    std::vector<std::int64_t> labels;
    for (const Date& date : coordinate.dates) labels.push_back(date.month - 1);
    return labels;
  }
  throw InvalidArgument("[demo] the variable must have a time axis with dates; got " + info.name);
}

Statistics statistics(const Array& x, int axis, const std::vector<std::int64_t>& labels) {
  const Array mean = nanmean(x, {.axis = axis});
  const Array months = groupby_reduce(x, labels, "nanmean", {.axis = axis, .group_count = kGroups});
  const Array anomaly = x - take(months, labels, axis);
  return {mean, months, nanstd(anomaly, {.axis = axis})};
}

// The same by plain loops over x (before, time, after), and the largest differences.
struct Differences {
  double mean = 0.0;
  double months = 0.0;
  double spread = 0.0;
};
struct Extents {
  std::int64_t before = 1;
  std::int64_t times = 1;
  std::int64_t after = 1;
};

void widen(double& worst, double expected, double got, double scale) {
  if (std::isnan(expected) && std::isnan(got)) return;
  const double off = std::abs(expected - got) / scale;
  worst = std::isnan(off) ? std::numeric_limits<double>::infinity() : std::max(worst, off);
}

Differences compare(const std::vector<double>& x, const Extents& n,
                    const std::vector<std::int64_t>& labels, const std::vector<double>& mean,
                    const std::vector<double>& months, const std::vector<double>& spread) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Differences worst;
  for (std::int64_t b = 0; b < n.before; ++b) {
    for (std::int64_t a = 0; a < n.after; ++a) {
      const auto value = [&](std::int64_t t) { return x[at((b * n.times + t) * n.after + a)]; };
      long double sum = 0, group_sum[kGroups] = {}, squares = 0, anomaly_sum = 0;
      std::int64_t count = 0, group_count[kGroups] = {};
      double scale = 1e-30;
      for (std::int64_t t = 0; t < n.times; ++t) {
        if (std::isnan(value(t))) continue;
        sum += value(t);
        ++count;
        group_sum[labels[at(t)]] += value(t);
        ++group_count[labels[at(t)]];
        scale = std::max(scale, std::abs(value(t)));
      }
      const auto climate = [&](std::int64_t g) {
        return group_count[g] == 0
                   ? nan
                   : static_cast<double>(group_sum[g] / static_cast<long double>(group_count[g]));
      };
      for (std::int64_t t = 0; t < n.times; ++t) {
        if (!std::isnan(value(t))) anomaly_sum += value(t) - climate(labels[at(t)]);
      }
      for (std::int64_t t = 0; t < n.times; ++t) {
        if (std::isnan(value(t))) continue;
        const long double off =
            value(t) - climate(labels[at(t)]) - anomaly_sum / static_cast<long double>(count);
        squares += off * off;
      }
      const std::size_t point = at(b * n.after + a);
      widen(worst.mean,
            count == 0 ? nan : static_cast<double>(sum / static_cast<long double>(count)),
            mean[point], scale);
      widen(worst.spread,
            count == 0 ? nan
                       : static_cast<double>(std::sqrt(squares / static_cast<long double>(count))),
            spread[point], scale);
      for (std::int64_t g = 0; g < kGroups; ++g) {
        widen(worst.months, climate(g), months[at((b * kGroups + g) * n.after + a)], scale);
      }
    }
  }
  return worst;
}

std::vector<double> doubles(const Array& array) {
  const HostArray host = astype(array, float64).compute();
  const auto span = host.span<double>();
  return {span.begin(), span.end()};
}

PlotAxis plot_axis(const VariableInfo& info, std::size_t axis) {
  PlotAxis out{.name = info.dimensions[axis]};
  for (const Coordinate& coordinate : info.coordinates) {
    if (coordinate.dimension != info.dimensions[axis] || !coordinate.dates.empty()) continue;
    out.name = coordinate.name;
    out.units = coordinate.units;
    out.values = coordinate.values;
  }
  return out;
}

// The first level of whatever lies before the last two axes.
void draw(Array map, const VariableInfo& info, const std::string& title, const std::string& path) {
  std::vector<std::size_t> axes;
  for (std::size_t i = 0; i < info.dimensions.size(); ++i) {
    if (static_cast<int>(i) != info.time_axis) axes.push_back(i);
  }
  while (map.ndim() > 2) {
    map = map.at({0, ellipsis});
    axes.erase(axes.begin());
  }
  PngOptions options;
  options.title = title;
  options.units = info.units;
  if (map.ndim() == 1) {
    map = expand_dims(map, 0);
  } else {
    options.y = plot_axis(info, axes[0]);
  }
  options.x = plot_axis(info, axes.back());
  save_png(map, path, options);
}

}  // namespace

Pile find_pile(const Options& options) {
  std::string path = options.path;
  if (path.empty()) {
    path = options.output + "/ocean";
    std::printf("writing a synthetic ocean to %s ...\n", path.c_str());
    std::fflush(stdout);
    write_synthetic_ocean(path);
  }
  VariableInfo info =
      describe(path, options.variable.empty() ? largest_variable(path) : options.variable);
  std::vector<std::int64_t> months = months_of(info);
  return {std::move(path), std::move(info), std::move(months)};
}

void run_pile(const Options& options, const Pile& pile, Report& report) {
  const VariableInfo& info = pile.info;
  const std::string& variable = info.name;
  const std::vector<std::int64_t>& labels = pile.months;
  const int axis = info.time_axis;
  const Array x = open(pile.path, variable);
  std::cout << variable << " of " << pile.path << ": " << x << std::endl;

  std::vector<std::int64_t> sorted = labels;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end()) {
    std::printf("every calendar month occurs once, so the spread about its mean is 0\n");
  }
  const Statistics all = statistics(x, axis, labels);
  std::vector<Array> kept;
  const double seconds = timed([&] {
    kept = persist({all.mean, all.months, all.spread}, with_progress(variable));
  });

  Array part = x;
  std::vector<Array> results = kept;
  const std::int64_t last = x.ndim() - 1;
  const auto bytes = static_cast<std::int64_t>(x.nbytes());
  if (bytes > kCheckedBytes && last != axis) {
    const std::int64_t width = std::max<std::int64_t>(1, x.shape().back() * kCheckedBytes / bytes);
    const std::int64_t begin = x.shape().back() / 3;
    const Slice strip{begin, std::min(begin + width, x.shape().back())};
    part = x.at({ellipsis, strip});
    for (Array& result : results) result = result.at({ellipsis, strip});
  }
  Extents extents;
  for (int i = 0; i < x.ndim(); ++i) {
    (i < axis ? extents.before : i == axis ? extents.times : extents.after) *= part.shape()[at(i)];
  }
  const Differences off = compare(doubles(part), extents, labels, doubles(results[0]),
                                  doubles(results[1]), doubles(results[2]));
  const double allowed = x.dtype() == float32 ? 1e-5 : 1e-12;
  const double worst = std::max({off.mean, off.months, off.spread});
  Row row;
  row.what = "mean, months, anomaly spread of " + variable;
  row.seconds = seconds;
  row.bytes = static_cast<double>(x.nbytes());
  row.ceiling = report.ceilings().read_bytes_per_s;
  row.ceiling_name = "read";
  row.right = worst <= allowed;
  row.checked = core::text(bytes > kCheckedBytes ? "loops over a strip" : "loops over every point",
                           ", off by ", short_number(worst));
  report.add(std::move(row));

  std::string label = info.long_name.empty() ? variable : info.long_name;
  std::replace(label.begin(), label.end(), '_', ' ');
  if (kept[0].ndim() > 0) {
    draw(kept[0], info, label + ": time mean", options.output + "/time_mean.png");
    draw(kept[2], info, label + ": spread about the monthly mean",
         options.output + "/anomaly_spread.png");
  } else {
    std::printf("no pictures: %s has no axis besides time\n", variable.c_str());
  }
  save_npy(kept[0], options.output + "/time_mean.npy");
  save_npy(kept[1], options.output + "/monthly_mean.npy");
  save_npy(kept[2], options.output + "/anomaly_spread.npy");
}

}  // namespace tessera::demo
