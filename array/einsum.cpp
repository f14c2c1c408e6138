#include <algorithm>
#include <cctype>
#include <map>
#include <string>

#include "array/refuse.hpp"
#include "tessera/elementwise.hpp"
#include "tessera/linalg.hpp"

namespace tessera {
namespace {

using array::refuse;

// An array and the label of each of its axes.
struct Labelled {
  Array array;
  std::string labels;
};

bool has(const std::string& labels, char label) { return labels.find(label) != std::string::npos; }

int axis_of(const std::string& labels, char label) { return static_cast<int>(labels.find(label)); }

struct Subscripts {
  std::vector<std::string> inputs;
  std::string output;
};

[[noreturn]] void refuse_subscripts(std::string_view text, const char* rule) {
  refuse("einsum", rule, "; got \"", text, "\"");
}

// The labels that occur once, in alphabetical order.
std::string implied_output(const std::vector<std::string>& inputs) {
  std::map<char, int> counts;
  for (const std::string& labels : inputs) {
    for (const char label : labels) ++counts[label];
  }
  std::string out;
  for (const auto& [label, count] : counts) {
    if (count == 1) out += label;
  }
  return out;
}

Subscripts parse(std::string_view text, std::size_t operands) {
  std::string compact;
  for (const char c : text) {
    if (c != ' ') compact += c;
  }
  Subscripts out;
  const std::size_t arrow = compact.find("->");
  const std::string left = compact.substr(0, arrow);
  out.inputs.emplace_back();
  for (const char c : left) {
    if (c == ',') {
      out.inputs.emplace_back();
    } else if (std::isalpha(static_cast<unsigned char>(c)) != 0) {
      out.inputs.back() += c;
    } else {
      refuse_subscripts(text, "subscripts must be letters, commas and one \"->\"");
    }
  }
  if (out.inputs.size() != operands) {
    refuse("einsum", "there must be one list of labels for each operand; got \"", text, "\" for ",
           operands, " operands");
  }
  out.output = arrow == std::string::npos ? implied_output(out.inputs) : compact.substr(arrow + 2);
  for (std::size_t i = 0; i < out.output.size(); ++i) {
    const bool known = std::any_of(out.inputs.begin(), out.inputs.end(),
                                   [&](const std::string& in) { return has(in, out.output[i]); });
    if (!known || out.output.find(out.output[i], i + 1) != std::string::npos) {
      refuse_subscripts(text, "labels of the result must differ and occur on the left");
    }
  }
  return out;
}

// Every label has one extent wherever it stands, and every array one label for each axis.
void check_extents(std::string_view text, const std::vector<Labelled>& operands) {
  std::map<char, std::int64_t> extents;
  for (const Labelled& x : operands) {
    if (x.labels.size() != x.array.shape().size()) {
      refuse("einsum", "there must be one label for each axis; got \"", x.labels, "\" for shape ",
             to_string(x.array.shape()));
    }
    for (std::size_t i = 0; i < x.labels.size(); ++i) {
      const std::int64_t extent = x.array.shape()[i];
      const auto [it, fresh] = extents.emplace(x.labels[i], extent);
      if (!fresh && it->second != extent) {
        refuse("einsum", "axes with one label must have one extent; got ", it->second, " and ",
               extent, " for label '", x.labels[i], "' of \"", text, "\"");
      }
    }
  }
}

// Repeated labels become diagonals; labels that nothing else needs are summed over.
Labelled simplified(Labelled x, const std::string& needed, const std::source_location& where) {
  for (std::size_t i = 0; i < x.labels.size(); ++i) {
    const std::size_t again = x.labels.find(x.labels[i], i + 1);
    if (again == std::string::npos) continue;
    const char label = x.labels[i];
    x.array =
        diagonal(x.array, {.axis1 = static_cast<int>(i), .axis2 = static_cast<int>(again)}, where);
    x.labels.erase(again, 1).erase(i, 1);
    x.labels += label;
    i = static_cast<std::size_t>(-1);
  }
  std::vector<int> summed;
  std::string kept;
  for (std::size_t i = 0; i < x.labels.size(); ++i) {
    if (has(needed, x.labels[i]))
      kept += x.labels[i];
    else
      summed.push_back(static_cast<int>(i));
  }
  if (!summed.empty()) {
    x.array = sum(x.array, {.axis = summed, .dtype = x.array.dtype()}, where);
  }
  x.labels = kept;
  return x;
}

// Axes in the order of `labels`.
Array ordered(const Labelled& x, const std::string& labels, const std::source_location& where) {
  std::vector<int> order;
  for (const char label : labels) order.push_back(axis_of(x.labels, label));
  return permute_dims(x.array, order, where);
}

std::int64_t extent_of(const Labelled& x, const std::string& labels) {
  std::int64_t out = 1;
  for (const char label : labels) {
    out *= x.array.shape()[static_cast<std::size_t>(axis_of(x.labels, label))];
  }
  return out;
}

// Shape of the axes `labels`, followed by two more extents.
Shape stacked(const Labelled& x, const std::string& labels, std::int64_t rows,
              std::int64_t columns) {
  Shape shape;
  for (const char label : labels) {
    shape.push_back(x.array.shape()[static_cast<std::size_t>(axis_of(x.labels, label))]);
  }
  shape.push_back(rows);
  shape.push_back(columns);
  return shape;
}

// A product of two operands whose labels all occur in the other one or in `needed`.
Labelled combined(const Labelled& a, const Labelled& b, const std::string& needed,
                  const std::source_location& where) {
  std::string batch, summed, rows, columns;
  for (const char label : a.labels) {
    (!has(b.labels, label) ? rows : has(needed, label) ? batch : summed) += label;
  }
  for (const char label : b.labels) {
    if (!has(a.labels, label)) columns += label;
  }
  const std::string labels = batch + rows + columns;
  if (summed.empty()) {
    Array left = ordered(a, batch + rows, where);
    for (std::size_t i = 0; i < columns.size(); ++i) left = expand_dims(left, -1, where);
    Array right = ordered(b, batch + columns, where);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      right = expand_dims(right, static_cast<int>(batch.size()), where);
    }
    return {multiply(Operand(left, where), Operand(right, where)), labels};
  }
  const std::int64_t k = extent_of(a, summed);
  const Array left = reshape(ordered(a, batch + rows + summed, where),
                             stacked(a, batch, extent_of(a, rows), k), where);
  const Array right = reshape(ordered(b, batch + summed + columns, where),
                              stacked(b, batch, k, extent_of(b, columns)), where);
  Shape shape;
  for (const char label : labels) {
    const Labelled& from = has(a.labels, label) ? a : b;
    shape.push_back(from.array.shape()[static_cast<std::size_t>(axis_of(from.labels, label))]);
  }
  return {reshape(matmul(left, right, where), shape, where), labels};
}

}  // namespace

Array einsum(std::string_view subscripts, const std::vector<Array>& operands,
             std::source_location where) {
  if (operands.empty()) refuse("einsum", "there must be at least one operand; got none");
  const Subscripts parsed = parse(subscripts, operands.size());
  DType dtype = operands.front().dtype();
  for (const Array& x : operands) dtype = result_type(dtype, x.dtype());
  std::vector<Labelled> rest;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    rest.push_back({astype(operands[i], dtype, where), parsed.inputs[i]});
  }
  check_extents(subscripts, rest);
  // What the result and the operands from `next` on need.
  const auto needed_from = [&](std::size_t next) {
    std::string labels = parsed.output;
    for (; next < rest.size(); ++next) labels += rest[next].labels;
    return labels;
  };
  Labelled out = simplified(rest[0], needed_from(1), where);
  for (std::size_t i = 1; i < rest.size(); ++i) {
    const std::string later = needed_from(i + 1);
    const Labelled other = simplified(rest[i], later + out.labels, where);
    out = simplified(out, later + other.labels, where);
    out = simplified(combined(out, other, later, where), later, where);
  }
  return ordered(out, parsed.output, where);
}

}  // namespace tessera
