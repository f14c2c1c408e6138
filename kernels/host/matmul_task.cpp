#include <algorithm>
#include <set>
#include <vector>

#include "kernels/host/gemm_openblas.hpp"
#include "kernels/host/tasks.hpp"
#include "kernels/task_geometry.hpp"

namespace tessera::kernels::host {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// One matrix of an operand: rows along task axis `row`, columns along `col` of (batch..., m, n, k).
MatrixView matrix(const BoundRead& bound, int row, int col) {
  return {bound.data, bound.strides[at(row)], bound.strides[at(col)]};
}

class MatmulTask : public TaskKernel {
 public:
  explicit MatmulTask(const MatmulSpec& spec) : spec_(spec) {
    std::vector<AxisChunks> axes = spec.grid.axes();
    axes.push_back(spec.k_chunks);
    space_ = ChunkGrid(std::move(axes));
  }

  void run(const TaskArgs& args) const override {
    std::int64_t coords[kMaxRank + 1];
    const int rank = spec_.grid.rank();
    if (spec_.pairs) {
      // Task (pair, k) is block (i, j, k) of the space.
      std::int64_t j = 0;
      while ((j + 1) * (j + 2) / 2 <= args.coords[0]) ++j;
      coords[0] = args.coords[0] - j * (j + 1) / 2;
      coords[1] = j;
      coords[2] = args.coords[1];
    } else {
      std::copy(args.coords.begin(), args.coords.end(), coords);
    }
    const TaskBox box = task_box(space_, {coords, at(rank + 1)});
    const std::int64_t m = box.extent[at(rank - 2)];
    const std::int64_t n = box.extent[at(rank - 1)];
    const std::int64_t k = box.extent[at(rank)];
    const bool any = m > 0 && n > 0 && k > 0;
    const BoundRead a = any ? bind(spec_.a, box, args.input(0)[0]) : BoundRead{};
    const BoundRead b = any ? bind(spec_.b, box, args.input(1)[0]) : BoundRead{};
    const std::size_t item = itemsize(spec_.dtype);
    const bool diagonal = spec_.pairs && coords[0] == coords[1] && is_floating(spec_.dtype);
    const std::span<std::byte> scratch(args.scratch, scratch_bytes(m, n, k, a, b, diagonal));
    std::int64_t batches = 1;
    for (int d = 0; d < rank - 2; ++d) batches *= box.extent[at(d)];
    for (std::int64_t batch = 0; batch < batches; ++batch) {
      BoundRead left = a;
      BoundRead right = b;
      std::int64_t rest = batch;
      for (int d = rank - 2; d-- > 0;) {
        const std::int64_t i = rest % box.extent[at(d)];
        rest /= box.extent[at(d)];
        left.data += i * a.strides[at(d)] * static_cast<std::int64_t>(item);
        right.data += i * b.strides[at(d)] * static_cast<std::int64_t>(item);
      }
      std::byte* c = args.outputs[0] + static_cast<std::size_t>(batch * m * n) * item;
      if (diagonal) {
        gemm_self_transposed(spec_.dtype, m, k, matrix(left, rank - 2, rank), c, args.chained, scratch);
      } else {
        gemm(spec_.dtype, m, n, k, matrix(left, rank - 2, rank), matrix(right, rank, rank - 1), c, args.chained, scratch);
      }
    }
  }

  // The most that any block needs; only extents and which strides are 1 matter.
  std::size_t most_scratch() const {
    const int rank = spec_.grid.rank();
    TaskBox box;
    box.rank = rank + 1;
    const BoundRead a = bind(spec_.a, box, {0, nullptr});
    const BoundRead b = bind(spec_.b, box, {0, nullptr});
    std::size_t most = 0;
    for (std::int64_t m : sizes(spec_.grid.axis(rank - 2))) {
      for (std::int64_t n : sizes(spec_.grid.axis(rank - 1))) {
        for (std::int64_t k : sizes(spec_.k_chunks)) {
          most = std::max(most, scratch_bytes(m, n, k, a, b, false));
          if (spec_.pairs && is_floating(spec_.dtype)) most = std::max(most, scratch_bytes(m, n, k, a, b, true));
        }
      }
    }
    return most;
  }

 private:
  static std::set<std::int64_t> sizes(const AxisChunks& axis) {
    if (axis.is_regular()) return {axis.size(0), axis.size(axis.count() - 1)};
    const std::vector<std::int64_t> all = axis.extents();
    return {all.begin(), all.end()};
  }
  std::size_t scratch_bytes(std::int64_t m, std::int64_t n, std::int64_t k, const BoundRead& a, const BoundRead& b,
                            bool diagonal) const {
    const int rank = spec_.grid.rank();
    if (diagonal) return gemm_self_transposed_scratch_bytes(spec_.dtype, m, k, matrix(a, rank - 2, rank));
    return gemm_scratch_bytes(spec_.dtype, m, n, k, matrix(a, rank - 2, rank), matrix(b, rank, rank - 1));
  }

  MatmulSpec spec_;
  ChunkGrid space_;
};

}  // namespace

std::unique_ptr<TaskKernel> make_matmul(const MatmulSpec& spec) { return std::make_unique<MatmulTask>(spec); }

std::size_t matmul_scratch(const MatmulSpec& spec) { return MatmulTask(spec).most_scratch(); }

}  // namespace tessera::kernels::host
