#include "kernels/cuda/program_map_source.hpp"

#include <bit>

#include "core/text.hpp"
#include "kernels/cuda/program_source.hpp"

namespace tessera::kernels::cuda {

namespace {

using core::text;

constexpr const char* kHelpers = R"(
template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T at[kCount];
};
struct Divisor {
  unsigned extent, magic, shift, unused;
};
TESSERA_HD unsigned divide(unsigned x, const Divisor& by) {
  const unsigned long long product = static_cast<unsigned long long>(x) * by.magic;
  return (static_cast<unsigned>(product >> 32) + x) >> by.shift;
}
)";

class MapWriter {
 public:
  MapWriter(const Program& program, const ProgramFields& fields, const MapVariant& variant)
      : program_(program), fields_(fields), variant_(variant) {}

  std::string write() {
    out_ = program_source(program_) + kHelpers;
    map_struct();
    if (variant_.tiled) {
      tiles();
    } else {
      rows();
    }
    return std::move(out_);
  }

 private:
  template <typename... Args>
  void line(const Args&... args) {
    out_ += text(args..., "\n");
  }

  std::string_view load_type(std::size_t k) const { return lane_type(fields_.load_dtypes[k]); }
  std::string_view store_type(std::size_t s) const {
    return lane_type(program_.instrs[static_cast<std::size_t>(program_.stores[s])].dtype);
  }

  // Calls f(k, "l<slot>") for each load of a mode.
  template <typename F>
  void for_loads(LoadMode mode, F&& f) const {
    for (std::size_t k = 0; k < fields_.loads.size(); ++k) {
      if (variant_.loads[k] == mode) f(k, text("l", fields_.loads[k]));
    }
  }

  // In the order of ProgramMapper's parameters.
  void map_struct() {
    line("struct Map {");
    line("  long long n;");
    if (variant_.tiled) line("  long long m;");
    line("  unsigned rows, lanes_log;");
    if (variant_.outer_axes > 1) line("  Divisor axis[", variant_.outer_axes - 1, "];");
    for (std::size_t k = 0; k < fields_.loads.size(); ++k) {
      const std::string name = text("l", fields_.loads[k]);
      line("  const ", load_type(k), "* ", name, ";");
      strides("long long", name);
    }
    for (const int slot : fields_.indices) {
      line("  unsigned long long i", slot, ";");
      strides("unsigned long long", text("i", slot));
    }
    for (std::size_t s = 0; s < program_.stores.size(); ++s) {
      line("  ", store_type(s), "* s", s, ";");
      strides("long long", text("s", s));
    }
    line("  Constants constants;");
    line("};");
  }

  void strides(const char* type, const std::string& name) {
    line("  ", type, " ", name, "_inner;");
    if (variant_.tiled) line("  ", type, " ", name, "_turned;");
    if (variant_.outer_axes > 0) line("  ", type, " ", name, "_outer[", variant_.outer_axes, "];");
  }

  /// Where the row `row` begins: l<slot>, i<slot> and s<k>.
  void place_row() {
    line("unsigned rest = row;");
    for (int a = 0; a < variant_.outer_axes; ++a) {
      if (a + 1 < variant_.outer_axes) {
        line("const unsigned q", a, " = divide(rest, p.axis[", a, "]);");
        line("const long long c", a, " = rest - q", a, " * p.axis[", a, "].extent;");
        line("rest = q", a, ";");
      } else {
        line("const long long c", a, " = rest;");
      }
    }
    for (std::size_t k = 0; k < fields_.loads.size(); ++k) {
      const std::string name = text("l", fields_.loads[k]);
      line("const ", load_type(k), "* const ", name, " = p.", name, row_offset(name), ";");
    }
    for (const int slot : fields_.indices) {
      const std::string name = text("i", slot);
      line("const unsigned long long ", name, " = p.", name, row_offset(name), ";");
    }
    for (std::size_t s = 0; s < program_.stores.size(); ++s) {
      const std::string name = text("s", s);
      line(store_type(s), "* const ", name, " = p.", name, row_offset(name), ";");
    }
    for_loads(LoadMode::kUniform, [&](std::size_t k, const std::string& name) {
      if (!variant_.tiled) line("const ", load_type(k), " ", name, "_all = *", name, ";");
    });
  }
  std::string row_offset(const std::string& name) const {
    std::string out;
    for (int a = 0; a < variant_.outer_axes; ++a)
      out += text(" + c", a, " * p.", name, "_outer[", a, "]");
    return out;
  }

  // Two blocks for each multiprocessor: without a number the compiler spills registers to fit in
  // more.
  void head() {
    line("extern \"C\" __global__ void __launch_bounds__(", kMapThreads, ", 2) ", kMapKernel,
         "(const Map p) {");
  }

  void rows() {
    line("constexpr int kGroup = ", variant_.group, ", kUnroll = ", variant_.unroll, ";");
    head();
    line("const unsigned rows_each = blockDim.x >> p.lanes_log;");
    line("const long long span = (long long)kGroup << p.lanes_log;");
    line(
        "const long long first = blockIdx.x * (span * kUnroll) + (threadIdx.x & ((1u << "
        "p.lanes_log) - 1)) * kGroup;");
    line(
        "for (unsigned row = blockIdx.y * rows_each + (threadIdx.x >> p.lanes_log); row < p.rows;"
        " row += gridDim.y * rows_each) {");
    place_row();
    line("#pragma unroll 1");
    line("for (long long x = first; x < p.n; x += gridDim.x * (span * kUnroll)) {");
    if (variant_.group * variant_.unroll == 1) {
      row_end();
    } else {
      line("if (x + (kUnroll - 1) * span + kGroup <= p.n) {");
      whole_groups();
      line("} else {");
      row_end();
      line("}");
    }
    line("}\n}\n}");
  }

  static constexpr const char* kEachMember = "#pragma unroll\nfor (int j = 0; j < kGroup; ++j) ";

  void whole_groups() {
    line("Operands o[kUnroll * kGroup];");
    line("#pragma unroll");
    line("for (int u = 0; u < kUnroll; ++u) {");
    line("const long long at = x + u * span;");
    read_group();
    line("}");
    line("#pragma unroll");
    line("for (int u = 0; u < kUnroll; ++u) {");
    line("const long long at = x + u * span;");
    line("Draws draws;");
    line("Values v[kGroup];");
    line(kEachMember, "compute(p.constants, o[u * kGroup + j], draws, v[j]);");
    write_group();
    line("}");
  }

  void read_group() {
    for_loads(LoadMode::kVector, [&](std::size_t k, const std::string& name) {
      const std::string pack = text("Pack<", load_type(k), ", kGroup>");
      line("const ", pack, " ", name, "_pack = *reinterpret_cast<const ", pack, "*>(", name,
           " + at);");
      line(kEachMember, "o[u * kGroup + j].", name, " = ", name, "_pack.at[j];");
    });
    for_loads(LoadMode::kSingle, [&](std::size_t, const std::string& name) {
      line(kEachMember, "o[u * kGroup + j].", name, " = ", name, "[(at + j) * p.", name,
           "_inner];");
    });
    for_loads(LoadMode::kUniform, [&](std::size_t, const std::string& name) {
      line(kEachMember, "o[u * kGroup + j].", name, " = ", name, "_all;");
    });
    for (const int slot : fields_.indices) {
      const std::string name = text("i", slot);
      if (variant_.even_pairs) {
        // Said so that the compiler sees which elements share a draw.
        line("const unsigned long long ", name, "_pair = (", name, " + at) >> 1;");
        line(kEachMember, "o[u * kGroup + j].", name, " = (long long)((", name,
             "_pair + j / 2) << 1 | (j & 1));");
      } else {
        line(kEachMember, "o[u * kGroup + j].", name, " = ", index_at(name, "(at + j)"), ";");
      }
    }
  }
  static std::string index_at(const std::string& name, const char* x) {
    return text("(long long)(", name, " + (unsigned long long)", x, " * p.", name, "_inner)");
  }

  void write_group() {
    for (std::size_t s = 0; s < program_.stores.size(); ++s) {
      if (variant_.single_stores) {
        line(kEachMember, "s", s, "[(at + j) * p.s", s, "_inner] = v[j].s", s, ";");
        continue;
      }
      const std::string pack = text("Pack<", store_type(s), ", kGroup>");
      line(pack, " s", s, "_pack;");
      line(kEachMember, "s", s, "_pack.at[j] = v[j].s", s, ";");
      line("*reinterpret_cast<", pack, "*>(s", s, " + at) = s", s, "_pack;");
    }
  }

  // Groups that a row ends in or before, element by element.
  void row_end() {
    line("Draws draws;");
    line("#pragma unroll 1");
    line("for (int i = 0; i < kUnroll * kGroup; ++i) {");
    line("const long long at = x + i / kGroup * span + i % kGroup;");
    line("if (at >= p.n) break;");
    line("Operands o;");
    for (std::size_t k = 0; k < fields_.loads.size(); ++k) {
      const std::string name = text("l", fields_.loads[k]);
      const LoadMode mode = variant_.loads[k];
      const std::string element =
          mode == LoadMode::kVector ? "[at]" : text("[at * p.", name, "_inner]");
      line("o.", name, " = ", name, mode == LoadMode::kUniform ? "_all" : element, ";");
    }
    for (const int slot : fields_.indices)
      line("o.i", slot, " = ", index_at(text("i", slot), "at"), ";");
    line("Values v;");
    line("compute(p.constants, o, draws, v);");
    for (std::size_t s = 0; s < program_.stores.size(); ++s) {
      line("s", s, "[at", variant_.single_stores ? text(" * p.s", s, "_inner") : "", "] = v.s", s,
           ";");
    }
    line("}");
  }

  // Squares of p.n by p.m: x along the stores' innermost axis, y along the one that turned loads
  // are tight in.
  void tiles() {
    line("constexpr int kTile = ", variant_.tile, ", kStep = ", kMapThreads,
         " / kTile, kEach = kTile / kStep;");
    line("constexpr int kUnroll = ", variant_.unroll, ";");
    head();
    for_loads(LoadMode::kTurned, [&](std::size_t k, const std::string& name) {
      line("__shared__ ", load_type(k), " ", name, "_square[kTile][kTile + ",
           tile_padding(itemsize(fields_.load_dtypes[k])), "];");
    });
    line("const int lane = threadIdx.x % kTile;");
    line("const int step = threadIdx.x / kTile;");
    line("for (unsigned row = blockIdx.z; row < p.rows; row += gridDim.z) {");
    place_row();
    line(
        "for (long long y0 = (long long)blockIdx.y * kTile; y0 < p.m; y0 += (long long)gridDim.y * "
        "kTile) {");
    line("#pragma unroll 1");
    line(
        "for (long long x0 = (long long)blockIdx.x * kTile; x0 < p.n; x0 += (long long)gridDim.x * "
        "kTile) {");
    line("const bool whole = x0 + kTile <= p.n && y0 + kTile <= p.m;");
    line("__syncthreads();");  // the square before has been read
    turn();
    line("__syncthreads();");
    if (variant_.unroll == 1) {
      edge_square();
    } else {
      line("if (whole) {");
      whole_square();
      line("} else {");
      edge_square();
      line("}");
    }
    line("}\n}\n}\n}");
  }

  // Reads squares along y.
  void turn() {
    for_loads(LoadMode::kTurned, [&](std::size_t, const std::string& name) {
      line("const auto* ", name, "_at = ", name, " + (x0 + step) * p.", name,
           "_inner + (y0 + lane) * p.", name, "_turned;");
    });
    line("if (whole) {");
    line("#pragma unroll 4");
    line("for (int e = 0; e < kEach; ++e) {");
    turn_element();
    line("}\n} else {");
    line("#pragma unroll 1");
    line("for (int e = 0; e < kEach; ++e) {");
    line("if (x0 + step + e * kStep < p.n && y0 + lane < p.m) {");
    turn_element();
    line("}\n}\n}");
  }
  void turn_element() {
    for_loads(LoadMode::kTurned, [&](std::size_t, const std::string& name) {
      line(name, "_square[step + e * kStep][lane] = ", name, "_at[e * (kStep * p.", name,
           "_inner)];");
    });
  }

  // A thread's elements lie kStep apart along y.
  void whole_square() {
    line("#pragma unroll 1");
    line("for (int first = 0; first < kEach; first += kUnroll) {");
    line("Operands o[kUnroll];");
    line("#pragma unroll");
    line("for (int u = 0; u < kUnroll; ++u) {");
    line("const int e = first + u;");
    read_element("o[u]");
    line("}");
    line("#pragma unroll");
    line("for (int u = 0; u < kUnroll; ++u) {");
    line("const int e = first + u;");
    line("Draws draws;");
    line("Values v;");
    line("compute(p.constants, o[u], draws, v);");
    write_element();
    line("}\n}");
  }

  void edge_square() {
    line("#pragma unroll 1");
    line("for (int e = 0; e < kEach; ++e) {");
    line("if (x0 + lane >= p.n || y0 + step + e * kStep >= p.m) continue;");
    line("Operands o;");
    read_element("o");
    line("Draws draws;");
    line("Values v;");
    line("compute(p.constants, o, draws, v);");
    write_element();
    line("}");
  }

  void read_element(const char* to) {
    line("const long long y = y0 + step + e * kStep;");
    for_loads(LoadMode::kSingle, [&](std::size_t, const std::string& name) {
      line(to, ".", name, " = ", name, "[", tile_offset(name), "];");
    });
    for_loads(LoadMode::kTurned, [&](std::size_t, const std::string& name) {
      line(to, ".", name, " = ", name, "_square[lane][step + e * kStep];");
    });
    for (const int slot : fields_.indices) {
      const std::string name = text("i", slot);
      line(to, ".", name, " = (long long)(", name, " + (unsigned long long)(x0 + lane) * p.", name,
           "_inner + (unsigned long long)y * p.", name, "_turned);");
    }
  }
  void write_element() {
    for (std::size_t s = 0; s < program_.stores.size(); ++s) {
      const std::string name = text("s", s);
      line(name, "[(x0 + lane) * p.", name, "_inner + (y0 + step + e * kStep) * p.", name,
           "_turned] = v.", name, ";");
    }
  }
  static std::string tile_offset(const std::string& name) {
    return text("(x0 + lane) * p.", name, "_inner + y * p.", name, "_turned");
  }

  const Program& program_;
  const ProgramFields& fields_;
  const MapVariant& variant_;
  std::string out_;
};

}  // namespace

std::string map_source(const Program& program, const ProgramFields& fields,
                       const MapVariant& variant) {
  return MapWriter(program, fields, variant).write();
}

MapDivisor map_divisor(std::uint32_t extent) noexcept {
  const auto shift =
      static_cast<std::uint32_t>(extent <= 1 ? 0 : 32 - std::countl_zero(extent - 1));
  const std::uint64_t power = std::uint64_t{1} << shift;
  const auto magic = static_cast<std::uint32_t>(((power - extent) << 32) / extent + 1);
  return {extent, magic, shift, 0};
}

int tile_padding(std::size_t item_bytes) noexcept {
  return item_bytes < 4 ? static_cast<int>(4 / item_bytes) : 1;
}

}  // namespace tessera::kernels::cuda
